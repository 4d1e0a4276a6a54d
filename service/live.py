"""What an API process holds and swaps whole: the frame (catalog and snapshot) and the models. It follows the catalog
file, the snapshots in Redis and the bundles' aliases; what is broken there is reported and the old one stays.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
from redis import RedisError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features import snapshots
from features.documents import DocumentError
from features.streaming import StoredRow, parse_field
from service import metrics
from service.bundles import Bundles
from service.catalog import versions
from service.catalog.compiled import Compiled, compile_catalog
from service.decisions import frame
from service.decisions.warming import rehearse
from service.files import stamp
from service.shadow.scoring import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from features.settings import Settings
    from models.bundle import Bundle
    from service.decisions.choose import Chosen
    from service.decisions.question import Question

log = logging.getLogger(__name__)

REDIS_TIMEOUT = 2.0
RECORDED, RECORD_EVERY = 16, 20
"""How many of a process's latest decisions new models are warmed up with: every twentieth, so that they are of several
moments.
"""


class Live:
    """The current frame and models of one process."""

    def __init__(self, settings: Settings, redis_url: str, warm_up: Callable[[frame.Frame, Bundle], None]) -> None:
        """Reads the catalog. Raises DocumentError if it is broken: a service does not start without one.

        `warm_up` decides with a new model before it is swapped in.
        """
        self._home, self._catalog = settings.home, settings.home.catalog
        self._redis = redis.asyncio.Redis.from_url(
            redis_url,
            socket_timeout=REDIS_TIMEOUT,
            socket_connect_timeout=REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._recorded: deque[Question] = deque(maxlen=RECORDED)
        self._decided = 0

        def prepare(bundle: Bundle) -> None:
            warm_up(self.frame, bundle)
            rehearse(self.frame, bundle, tuple(self._recorded))

        self._bundles = Bundles(settings.home.bundles, prepare)
        self.shadow = Shadow(settings.shadow_share)
        """What the challenger would have made of it."""
        self._rows: dict[str, dict[int, StoredRow]] = {"candidate": {}, "successors": {}}
        self._head: snapshots.Head | None = None
        self._position = b"0-0"
        self._catalog_stamp = stamp(self._catalog)
        self._problems: dict[str, str] = {}
        self.compiled: Compiled = compile_catalog(*versions.read(settings.home))
        self.frame = self._empty = frame.build(self.compiled, None, {}, {})
        self.swapped = asyncio.Event()
        """Set when another catalog is in the frame; it has a new event then."""

    @property
    def models(self) -> Mapping[str, Bundle]:
        """By alias."""
        return self._bundles.models

    @property
    def problems(self) -> dict[str, str]:
        """What is refused or missing at the moment, by part."""
        return self._problems | self._bundles.problems

    def observe(self, question: Question, chosen: Chosen) -> None:
        """Take note of a decision that was answered: to warm new models up with, and for the challenger to score."""
        if self._decided % RECORD_EVERY == 0 and not question.frame.supplied:
            # Without frame and models, which are large, and others by the time that it is decided again.
            self._recorded.append(msgspec.structs.replace(question, frame=self._empty, models={}))
        self._decided += 1
        self.shadow.offer(question.decision_id, chosen, question.models)

    async def refresh(self) -> None:
        """Take up what has changed since the last time."""
        await self.refresh_frame()
        await self.refresh_models()

    async def refresh_models(self) -> None:
        """Take up what has changed of the models: a new one is warmed up first, which the catalog does not wait for."""
        await asyncio.to_thread(self._bundles.refresh)

    async def refresh_frame(self) -> None:
        """Take up what has changed of the catalog and the candidates."""
        # In threads: a catalog of thousands takes a while to read, and requests go on meanwhile.
        changed = await asyncio.to_thread(self._read_catalog)
        try:
            changed |= await self._read_snapshot()
            self._problems.pop("snapshot", None)
        except (RedisError, OSError) as error:
            self._problems["snapshot"] = f"Redis does not answer: {error}"
        if changed:
            self._swap(await asyncio.to_thread(self.reframe, self.compiled))
        if self._head is not None:
            metrics.SNAPSHOT_AGE.set(max(time.time() - self._head.time / 1e6, 0.0))

    def _swap(self, fresh: frame.Frame) -> None:
        is_other = fresh.compiled is not self.frame.compiled
        self.frame = fresh
        if is_other:
            swapped, self.swapped = self.swapped, asyncio.Event()
            swapped.set()

    def candidate_row(self, key: int) -> StoredRow | None:
        """The snapshot's row of any candidate that an event named, by its digest."""
        return self._rows["candidate"].get(key)

    def reframe(self, compiled: Compiled) -> frame.Frame:
        """The frame of another catalog with the snapshot of now."""
        return frame.build(compiled, self._head, dict(self._rows["candidate"]), dict(self._rows["successors"]))

    async def close(self) -> None:
        await asyncio.to_thread(self.shadow.close)
        await self._redis.aclose()

    def _read_catalog(self) -> bool:
        found = stamp(self._catalog)
        if found == self._catalog_stamp:
            return False
        self._catalog_stamp = found
        try:
            catalog, version = versions.read(self._home)
        except DocumentError as error:
            log.warning("the catalog stays at %s: %s", self.compiled.version, error)
            self._problems["catalog"] = str(error)
            metrics.REFUSED.labels("catalog").inc()
            return False
        self._problems.pop("catalog", None)
        self.compiled = compile_catalog(catalog, version)
        log.info("catalog %s: %d candidates", version, len(self.compiled.candidates))
        return True

    async def _read_snapshot(self) -> bool:
        if self._head is None:
            return await self._read_whole()
        found: Any = await self._redis.xread({snapshots.CHANGES: self._position}, count=snapshots.KEPT_CHANGES)
        changes = [(entry, snapshots.decode_change(fields[b"c"])) for entry, fields in found[0][1]] if found else []
        for entry, change in changes:
            if change.whole and change.head.time > self._head.time:
                return await self._read_whole()  # a replay has swapped all rows
            if change.head.number == self._head.number + 1:
                self._take(change.rows)
                self._head = change.head
            elif change.head.time > self._head.time:
                return await self._read_whole()  # behind what the stream still holds, or another Redis
            self._position = entry
        return bool(changes)

    async def _read_whole(self) -> bool:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(snapshots.HEAD)
            pipe.hgetall(snapshots.ROWS)
            pipe.xrevrange(snapshots.CHANGES, count=1)
            head, rows, last = await pipe.execute()
        self._rows = {"candidate": {}, "successors": {}}
        self._take({field.decode(): payload for field, payload in rows.items()})
        self._head = snapshots.decode_head(head) if head else snapshots.Head(0, 0)
        self._position = last[0][0] if last else b"0-0"
        return True

    def _take(self, rows: dict[str, bytes]) -> None:
        for field, payload in rows.items():
            if (parsed := parse_field(field.encode())) is not None:
                view, key = parsed
                self._rows[view][key] = snapshots.decode_stored(payload)
