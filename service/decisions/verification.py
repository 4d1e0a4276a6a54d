"""Logged decisions made again with what they were made with, and whether they are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from features.aggregates.rows import LAYOUTS
from models.bundle import BundleError
from service.decisions.deviations import Deviation, compare
from service.decisions.evidence import MissingError
from service.decisions.replaying import is_replayable, models_of, record_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from features.events.schema import Decision
    from service.catalog.compiled import Compiled
    from service.decisions.evidence import Evidence
    from service.decisions.frame import Frame


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Of one decision."""

    logged: Decision
    deviations: list[Deviation] = []
    missing: str = ""
    """Why it cannot be made again."""


def verify(evidence: Evidence, decisions: Sequence[Decision]) -> Iterator[Verdict]:
    """One verdict each, in the order of the decisions' snapshots."""
    for logged, framed in evidence.frames(decisions):
        try:
            yield Verdict(logged=logged, deviations=_deviate(evidence, logged, framed))
        except (MissingError, BundleError) as error:
            yield Verdict(logged=logged, missing=str(error))


def require_layout(logged: Decision) -> None:
    """Raises MissingError for a state that only another version of the program can read."""
    if not is_replayable(logged) and logged.state is not None:
        own = LAYOUTS["customer"].version
        raise MissingError(f"the customer's state is laid out as {logged.state.layout}, and this Kairos reads {own}")


def _deviate(evidence: Evidence, logged: Decision, framed: Callable[[Compiled], Frame]) -> list[Deviation]:
    require_layout(logged)
    frame = framed(evidence.catalog(logged.catalog_version))
    return compare(logged, record_again(logged, frame, models_of(logged, frame, evidence.model)))
