"""Labels from what was shown: exposures of logged decisions, rewarded by a click on that candidate in that place.

The customer is joined at the row that the decision read, candidates at its snapshot, and inline events are applied.
Decisions that nobody saw teach nothing, nor does a click without an exposure: both are counted and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow.compute as pc

from features import archive
from features.events.occurrences import identifier
from features.events.schema import Decision, Track, decode
from models.matrix import device_of, zone_of
from models.referrers import referrer_of
from training.labels import CLICK, Queries, TrainingError, moments, read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    import pyarrow as pa

    from features.home import Home

EXPOSURE_EVENT, CLICK_EVENT = "Promotion Viewed", "Promotion Clicked"


class Shown(msgspec.Struct, frozen=True):
    """Exposures by decision and placement: candidate -> clicked."""

    slots: dict[str, dict[str, dict[str, bool]]]
    unseen_clicks: int


def label(home: Home) -> Queries:
    """One query for each placement of a decision of which something was seen. Raises TrainingError without any."""
    shown = read_shown(home)
    queries = _Collector(read_zone(home))
    for decision in _decisions(home):
        for slot in decision.placements:
            seen = shown.slots.get(_id(decision), {}).get(slot.id, {})
            if served := [(item.id, seen[item.id]) for item in slot.items if item.id in seen]:
                queries.add(decision, slot.id, served)
    if not queries.owner:
        raise TrainingError(
            f"no exposures to learn from: no {EXPOSURE_EVENT!r} event names a logged decision and what it showed "
            "(properties decision_id, promotion_id, placement); train with --labels bootstrap until there are some"
        )
    return queries.finish()


def read_shown(home: Home) -> Shown:
    """Each exposure once, in whatever order exposures and clicks arrived, and however often."""
    slots: dict[str, dict[str, dict[str, bool]]] = {}
    for decision, placement, candidate in _signals(home, EXPOSURE_EVENT):
        slots.setdefault(decision, {}).setdefault(placement, {})[candidate] = False
    unseen = set()
    for decision, placement, candidate in _signals(home, CLICK_EVENT):
        seen = slots.get(decision, {}).get(placement, {})
        if candidate in seen:
            seen[candidate] = True
        else:
            unseen.add((decision, placement, candidate))
    return Shown(slots, len(unseen))


def _signals(home: Home, event: str) -> Iterator[tuple[str, str, str]]:
    """(decision, placement, candidate) of each event of the name that has all three."""
    table = archive.read(home.archive, ["event", "payload"], types=["track"])
    for payload in _payloads(table.filter(pc.equal(table["event"], event))):
        track = decode(payload)
        if isinstance(track, Track):
            properties = track.properties
            signal = tuple(identifier(properties.get(name)) for name in ("decision_id", "placement", "promotion_id"))
            if all(signal):
                yield signal  # type: ignore[misc]  # three names make three texts


def _decisions(home: Home) -> Iterator[Decision]:
    """Every logged decision once: the first record of an id."""
    known: set[str] = set()
    for payload in _payloads(archive.read(home.archive, ["payload"], types=["decision"])):
        decision = decode(payload)
        if isinstance(decision, Decision) and _id(decision) not in known:
            known.add(_id(decision))
            yield decision


def _payloads(table: pa.Table) -> Iterator[bytes]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.column("payload").to_pylist()


def _id(decision: Decision) -> str:
    return decision.decision_id or decision.message_id


class _Collector:
    """Queries as they are found."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._decisions: list[tuple[Decision, str]] = []
        self._names: dict[str, int] = {}
        self.owner: list[int] = []
        self._candidate: list[int] = []
        self._rewarded: list[bool] = []

    def add(self, decision: Decision, placement: str, served: list[tuple[str, bool]]) -> None:
        for candidate, clicked in served:
            self.owner.append(len(self._decisions))
            self._candidate.append(self._names.setdefault(candidate, len(self._names)))
            self._rewarded.append(clicked)
        self._decisions.append((decision, placement))

    def finish(self) -> Queries:
        decisions = [decision for decision, _ in self._decisions]
        now = np.array([decision.time for decision in decisions], np.int64)
        hour, weekday = moments(now, [zone_of(decision.context, self._zone) for decision in decisions])
        return Queries(
            kind="logged",
            reward=CLICK,
            customers=[decision.customer for decision in decisions],
            now=now,
            customer_at=np.array([0 if it.state is None else it.state.applied for it in decisions], np.int64),
            candidate_at=np.array([decision.snapshot_time for decision in decisions], np.int64),
            hour=hour,
            weekday=weekday,
            device=[device_of(decision.context) for decision in decisions],
            referrer=[referrer_of(decision.context) for decision in decisions],
            placement=[placement for _, placement in self._decisions],
            inline={at: list(decision.events) for at, decision in enumerate(decisions) if decision.events},
            candidates=list(self._names),
            owner=np.array(self.owner, np.int64),
            candidate=np.array(self._candidate, np.int64),
            rewarded=np.array(self._rewarded, np.bool_),
            popularity=np.full(len(self.owner), np.nan),
        )
