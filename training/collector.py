"""Labelled queries of logged decisions, as they are found: in columns, as there may be millions."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from features.aggregates.rows import LAYOUTS
from features.events.schema import Decision
from features.lifetimes import is_expired
from models.matrix import device_of, zone_of
from models.referrers import referrer_of
from training.labels import CLICK, Queries, TrainingError, moments
from training.supplied import described

if TYPE_CHECKING:
    from datetime import tzinfo
    from typing import Any

    from features.events.outline import DecisionOutline
    from features.events.schema import Event
    from training.labels import Packed


class Collector:
    """`kind` logged."""

    def __init__(
        self, zone: tzinfo, reward: str = CLICK, with_states: bool = False, with_amounts: bool = False
    ) -> None:
        self._zone, self._reward, self._with_amounts = zone, reward, with_amounts
        self._now, self._customer_at, self._candidate_at = array("q"), array("q"), array("q")
        self._zones: list[tzinfo] = []
        self._texts: dict[str, str] = {}
        self._customers: list[str] = []
        self._devices: list[str] = []
        self._referrers: list[str] = []
        self._placements: list[str] = []
        self._inline: dict[int, list[Event]] = {}
        self._supplied: dict[int, dict[str, dict[str, Any]]] = {}
        self._states: dict[int, Packed] | None = {} if with_states else None
        self._names: dict[str, int] = {}
        self._owner, self._candidate, self._position = array("q"), array("q"), array("q")
        self._rewarded, self._amount = array("b"), array("d")

    def __len__(self) -> int:
        return len(self._now)

    def add(
        self, decision: Decision | DecisionOutline, placement: str, served: list[tuple[str, int, bool, float]]
    ) -> None:
        """`served`: candidate, position, whether it was rewarded and what it brought."""
        at = len(self)
        for candidate, position, rewarded, amount in served:
            self._owner.append(at)
            self._candidate.append(self._names.setdefault(candidate, len(self._names)))
            self._position.append(position)
            self._rewarded.append(rewarded)
            self._amount.append(amount)
        self._now.append(decision.time)
        self._customer_at.append(0 if decision.state is None else decision.state.applied)
        self._candidate_at.append(decision.snapshot_time)
        self._zones.append(zone_of(decision.context, self._zone))
        self._customers.append(self._once(decision.customer))
        self._devices.append(self._once(device_of(decision.context)))
        self._referrers.append(self._once(referrer_of(decision.context)))
        self._placements.append(self._once(placement))
        if decision.events:
            self._inline[at] = list(decision.events)
        if brought := described(decision):
            self._supplied[at] = brought
        if self._states is not None and isinstance(decision, Decision) and (state := _open(decision)):
            self._states[at] = state

    def _once(self, text: str) -> str:
        """The same object for the same text: most come again and again."""
        return self._texts.setdefault(text, text)

    def finish(self) -> Queries:
        now = np.array(self._now, np.int64)
        hour, weekday = moments(now, self._zones)
        return Queries(
            kind="logged",
            reward=self._reward,
            customers=self._customers,
            now=now,
            customer_at=np.array(self._customer_at, np.int64),
            candidate_at=np.array(self._candidate_at, np.int64),
            hour=hour,
            weekday=weekday,
            device=self._devices,
            referrer=self._referrers,
            placement=self._placements,
            inline=self._inline,
            candidates=list(self._names),
            owner=np.array(self._owner, np.int64),
            candidate=np.array(self._candidate, np.int64),
            rewarded=np.array(self._rewarded, np.bool_),
            popularity=np.full(len(self._owner), np.nan),
            position=np.array(self._position, np.int64),
            amount=np.array(self._amount, np.float64) if self._with_amounts else None,
            supplied=self._supplied,
            states=self._states,
        )


def _open(decision: Decision) -> Packed | None:
    """The row as it was logged; None for one that was unknown or too old. Raises TrainingError for one of other
    declarations than this program's.
    """
    state = decision.state
    if state is None or is_expired("customer", state.applied, decision.time):
        return None
    if state.layout != LAYOUTS["customer"].version:
        raise TrainingError(
            f"states were logged under other features (layout {state.layout}; now {LAYOUTS['customer'].version}): "
            "join them from the historical store instead"
        )
    return np.frombuffer(state.numbers, np.float64).tolist(), np.frombuffer(state.ids, np.int64).tolist()
