"""Leaves Redis alone for a while when it has not answered for some time, so that nobody waits for it in vain."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

FAILURES, SECONDS = 3, 0.1
"""So many failures, over so long, without a success between. Many at once may be one pause of this process."""
PAUSE_SECONDS = 0.5


class Breaker:
    """One a use of Redis: reads that are given up early must not stop writes that have time."""

    def __init__(self, use: str) -> None:
        self._use = use
        self._failures = 0
        self._failing_since = 0.0
        self._closed_until = 0.0

    def lets_through(self) -> bool:
        return time.monotonic() >= self._closed_until

    def note_failure(self, error: Exception) -> None:
        now = time.monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._failures >= FAILURES and now - self._failing_since >= SECONDS:
            if not self._closed_until:
                log.warning("Redis does not answer %s, and is left alone: %r", self._use, error)
            self._closed_until = now + PAUSE_SECONDS

    def note_success(self) -> None:
        if self._closed_until:
            log.warning("Redis answers %s again", self._use)
        self._failures, self._closed_until = 0, 0.0
