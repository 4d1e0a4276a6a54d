"""Labels from what was shown: exposures of logged decisions, rewarded as `attribution` credits them.

The customer is joined at the row that the decision read, candidates at its snapshot, and inline events are applied.
Decisions that nobody saw teach nothing, nor does a reward without an exposure, nor a window that is still open.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from features.events.outline import DecisionOutline, outline
from features.events.schema import Decision, decode
from training.attribution import Target, attribute
from training.collector import Collector
from training.labels import CLICK, CONVERSION, REVENUE, Queries, TrainingError, read_zone
from training.rewards import EXPOSURE_EVENT, payloads, read_behaviour, read_by_turns, read_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from features.home import Home
    from training.attribution import Attributed
    from training.labels import Flags, Floats, Ints
    from training.touches import Numbering

    Told = TypeVar("Told", Decision, DecisionOutline)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Exposures whose windows have closed, in columns (s,) by decision, and what became of them."""

    decisions: Numbering
    placements: list[str]
    candidates: list[str]
    starts: Ints
    """Where the exposures of each decision's number begin; one more, where the last one's end."""
    placement: Ints
    candidate: Ints
    rewarded: Flags
    amount: Floats
    """A click is paid for later: NaN for one whose window of orders is open."""
    attributed: Attributed
    waiting: int
    """Exposures whose window has not closed yet."""

    def of(self, decision: Decision | DecisionOutline) -> dict[tuple[str, str], tuple[bool, float]]:
        """(placement, candidate) of what was seen of a decision -> (whether it was rewarded, what it brought)."""
        number = self.decisions.get(id_of(decision))
        if number is None:
            return {}
        mine = slice(int(self.starts[number]), int(self.starts[number + 1]))
        columns = (self.placement, self.candidate, self.rewarded, self.amount)
        return {
            (self.placements[placement], self.candidates[candidate]): (rewarded, amount)
            for placement, candidate, rewarded, amount in zip(*(it[mine].tolist() for it in columns), strict=True)
        }


def label(home: Home, reward: Target = CLICK, with_states: bool = False, with_amounts: bool = False) -> Queries:
    """One query for each placement of a decision of which something was seen. Raises TrainingError without any.

    `with_states`: the customers' rows are those that the decisions logged. `with_amounts`: with each row's revenue.
    """
    shown = read_shown(home, reward)
    collector = Collector(read_zone(home), reward, with_states, with_amounts or reward == REVENUE)
    for decision in read_decisions(home) if with_states else read_outlines(home):
        seen = shown.of(decision)
        for slot in decision.placements if seen else ():
            served = [
                (item.id, item.rank, *seen[slot.id, item.id]) for item in slot.items if (slot.id, item.id) in seen
            ]
            if served:
                collector.add(decision, slot.id, served)
    if not len(collector) and shown.waiting:
        raise TrainingError(
            f"all {shown.waiting:,} exposures may still be rewarded: their windows close later (attribution of the "
            "catalog's placements); train then, or for another --reward"
        )
    if not len(collector):
        raise TrainingError(
            f"no exposures to learn from: no {EXPOSURE_EVENT!r} event names a logged decision and what it showed "
            "(properties decision_id, promotion_id, placement); train with --labels bootstrap until there are some"
        )
    return collector.finish()


def read_shown(home: Home, reward: Target = CLICK, since: int | None = None) -> Shown:
    """Each exposure once with its reward, in whatever order events arrived, and however often; of what arrived from
    `since` on.
    """
    behaviour = read_behaviour(home, since)
    found = attribute(behaviour, read_windows(home))
    is_open = found.is_open(reward, behaviour.until)
    amount = found.revenue
    if reward == CLICK:
        amount = np.where(found.is_open(CONVERSION, behaviour.until), np.nan, amount)
    names, settled = behaviour.names, ~is_open
    return Shown(
        decisions=names.decisions,
        placements=list(names.placements),
        candidates=list(names.candidates),
        starts=np.searchsorted(found.decision[settled], np.arange(len(names.decisions) + 1)),
        placement=found.placement[settled],
        candidate=found.candidate[settled],
        rewarded=(found.is_clicked if reward == CLICK else found.orders > 0)[settled],
        amount=amount[settled],
        attributed=found,
        waiting=int(is_open.sum()),
    )


def read_decisions(home: Home, since: int | None = None) -> Iterator[Decision]:
    """Every logged decision once (the first record of an id) that arrived from `since` on; none of a robot."""
    return _read(home, _decode, since)


def read_outlines(home: Home) -> Iterator[DecisionOutline]:
    """The same in outline."""
    return _read(home, outline, None)


def _read(home: Home, open_: Callable[[bytes], Told | None], since: int | None) -> Iterator[Told]:
    known: set[str] = set()
    turns = read_by_turns(home, "decision", ["payload"], since)
    for payload in chain.from_iterable(map(payloads, turns)):
        decision = open_(payload)
        if decision is not None and not decision.bot and id_of(decision) not in known:
            known.add(id_of(decision))
            yield decision


def _decode(payload: bytes) -> Decision | None:
    event = decode(payload)
    return event if isinstance(event, Decision) else None


def id_of(decision: Decision | DecisionOutline) -> str:
    return decision.decision_id or decision.message_id
