"""Labels from what was shown: exposures of logged decisions, rewarded as `attribution` credits them.

The customer is joined at the row that the decision read, candidates at its snapshot, and inline events are applied.
Decisions that nobody saw teach nothing, nor does a reward without an exposure, nor a window that is still open.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.rows import LAYOUTS
from features.events.schema import Decision, decode
from features.lifetimes import is_expired
from models.matrix import device_of, zone_of
from models.referrers import referrer_of
from training.attribution import Target, Window, attribute
from training.labels import CLICK, CONVERSION, REVENUE, Queries, TrainingError, moments, read_zone
from training.rewards import EXPOSURE_EVENT, payloads, read_behaviour, read_by_turns, read_windows
from training.supplied import described

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from features.events.schema import StateRead
    from features.home import Home
    from training.attribution import Attributed
    from training.labels import Packed


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Exposures by decision and placement: candidate -> (rewarded, what it brought); open windows are left out. A click
    is paid for later: NaN for one whose window of orders is open.
    """

    slots: dict[str, dict[str, dict[str, tuple[bool, float]]]]
    attributed: Attributed
    waiting: int
    """Exposures whose window has not closed yet."""


def label(home: Home, reward: Target = CLICK, with_states: bool = False, with_amounts: bool = False) -> Queries:
    """One query for each placement of a decision of which something was seen. Raises TrainingError without any.

    `with_states`: the customers' rows are those that the decisions logged. `with_amounts`: with each row's revenue.
    """
    shown = read_shown(home, reward)
    collector = Collector(read_zone(home), reward, with_states, with_amounts or reward == REVENUE)
    for decision in read_decisions(home):
        for slot in decision.placements:
            seen = shown.slots.get(id_of(decision), {}).get(slot.id, {})
            if served := [(item.id, item.rank, *seen[item.id]) for item in slot.items if item.id in seen]:
                collector.add(decision, slot.id, served)
    if not collector.owner and shown.waiting:
        raise TrainingError(
            f"all {shown.waiting:,} exposures may still be rewarded: their windows close later (attribution of the "
            "catalog's placements); train then, or for another --reward"
        )
    if not collector.owner:
        raise TrainingError(
            f"no exposures to learn from: no {EXPOSURE_EVENT!r} event names a logged decision and what it showed "
            "(properties decision_id, promotion_id, placement); train with --labels bootstrap until there are some"
        )
    return collector.finish()


def read_shown(home: Home, reward: Target = CLICK) -> Shown:
    """Each exposure once with its reward, in whatever order events arrived, and however often."""
    behaviour, windows = read_behaviour(home), read_windows(home)
    credited = attribute(behaviour.exposures, behaviour.clicks, behaviour.orders, behaviour.refunds, windows)
    slots: dict[str, dict[str, dict[str, tuple[bool, float]]]] = {}
    waiting = 0
    for key, credit in credited.credits.items():
        decision, placement, candidate = key
        if credited.is_open(key, reward, windows.get(placement, Window()), behaviour.until):
            waiting += 1
            continue
        rewarded = credit.clicked is not None if reward == CLICK else credit.orders > 0
        amount = credit.revenue
        if reward == CLICK and credited.is_open(key, CONVERSION, windows.get(placement, Window()), behaviour.until):
            amount = float("nan")
        slots.setdefault(decision, {}).setdefault(placement, {})[candidate] = (rewarded, amount)
    return Shown(slots=slots, attributed=credited, waiting=waiting)


def read_decisions(home: Home, since: int | None = None) -> Iterator[Decision]:
    """Every logged decision once (the first record of an id) that arrived from `since` on; none of a robot."""
    known: set[str] = set()
    turns = read_by_turns(home, "decision", ["payload"], since)
    for payload in chain.from_iterable(map(payloads, turns)):
        decision = decode(payload)
        if isinstance(decision, Decision) and not decision.bot and id_of(decision) not in known:
            known.add(id_of(decision))
            yield decision


def id_of(decision: Decision) -> str:
    return decision.decision_id or decision.message_id


class Collector:
    """Queries as they are found."""

    def __init__(
        self, zone: tzinfo, reward: str = CLICK, with_states: bool = False, with_amounts: bool = False
    ) -> None:
        self._zone, self._reward, self._with_states, self._with_amounts = zone, reward, with_states, with_amounts
        self._decisions: list[tuple[Decision, str]] = []
        self._names: dict[str, int] = {}
        self.owner: list[int] = []
        self._candidate: list[int] = []
        self._position: list[int] = []
        self._rewarded: list[bool] = []
        self._amount: list[float] = []

    def add(self, decision: Decision, placement: str, served: list[tuple[str, int, bool, float]]) -> None:
        """`served`: candidate, position, whether it was rewarded and what it brought."""
        for candidate, position, rewarded, amount in served:
            self.owner.append(len(self._decisions))
            self._candidate.append(self._names.setdefault(candidate, len(self._names)))
            self._position.append(position)
            self._rewarded.append(rewarded)
            self._amount.append(amount)
        self._decisions.append((self._lean(decision), placement))

    def _lean(self, decision: Decision) -> Decision:
        """Without what no query needs: there may be millions."""
        state = decision.state
        if state is not None and not self._with_states:
            state = msgspec.structs.replace(state, numbers=b"", ids=b"")
        return msgspec.structs.replace(decision, placements=[], variants={}, chances={}, attention=None, state=state)

    def finish(self) -> Queries:
        decisions = [decision for decision, _ in self._decisions]
        now = np.array([decision.time for decision in decisions], np.int64)
        hour, weekday = moments(now, [zone_of(decision.context, self._zone) for decision in decisions])
        return Queries(
            kind="logged",
            reward=self._reward,
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
            position=np.array(self._position, np.int64),
            amount=np.array(self._amount, np.float64) if self._with_amounts else None,
            supplied={at: brought for at, it in enumerate(decisions) if (brought := described(it))},
            states=self._states(decisions) if self._with_states else None,
        )

    def _states(self, decisions: list[Decision]) -> dict[int, Packed]:
        return {
            at: _open(decision.state)
            for at, decision in enumerate(decisions)
            if decision.state is not None and not is_expired("customer", decision.state.applied, decision.time)
        }


def _open(state: StateRead) -> Packed:
    """The logged lists. Raises TrainingError for one of other declarations than this program's."""
    if state.layout != LAYOUTS["customer"].version:
        raise TrainingError(
            f"states were logged under other features (layout {state.layout}; now {LAYOUTS['customer'].version}): "
            "join them from the historical store instead"
        )
    return np.frombuffer(state.numbers, np.float64).tolist(), np.frombuffer(state.ids, np.int64).tolist()
