"""Labels before anything was shown: what customers ordered (or viewed) next, among the popular candidates of the time.

A query stands one microsecond before its event, since a row stamped at the event's arrival already holds it.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow.compute as pc

from features import archive
from features.events.occurrences import read
from features.events.schema import decode
from training.labels import DAY, MICROSECOND, SECOND, VIEWED, Queries, TrainingError, moments, read_zone

if TYPE_CHECKING:
    from features.home import Home
    from training.labels import Flags, Floats, Ints

MOST_ROWS = 5_000_000
"""Queries are drawn at random, so many a day, when all of them would make more rows."""
SESSION = 30 * 60 * SECOND
"""A page view has an earlier one in its session when that was at most this long ago."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    candidates: int = 200
    """Most candidates a query."""
    window_days: int = 60
    """Candidates are the most popular of this many days before the query's day."""
    queries_per_day: int | None = None
    """At most so many queries a day, drawn at random; None for all that MOST_ROWS allows."""
    seed: int = 0


class Rewards(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one type, by arrival; `items` are places in `names`, `starts` (n + 1,) where an event's begin,
    `amounts` what each item was paid, NaN where its price is not told.
    """

    arrival: Ints
    customers: list[str]
    names: list[str]
    items: Ints
    starts: Ints
    amounts: Floats


def read_rewards(home: Home, event: str) -> Rewards:
    """Every archived event of that name which names a candidate, read as the features read it."""
    table = archive.read(home.archive, ["arrival", "event", "customer", "payload"], types=["track"])
    table = table.filter(pc.equal(table["event"], event))
    names: dict[str, int] = {}
    arrivals, customers, items, counts = [], [], [], []
    amounts: list[float] = []
    for arrival, customer, payload in zip(
        table["arrival"].to_pylist(), table["customer"].to_pylist(), table["payload"].to_pylist(), strict=True
    ):
        occurrence = read(decode(payload))
        if occurrence is None or not occurrence.items or not customer:
            continue
        arrivals.append(arrival)
        customers.append(customer)
        items += [names.setdefault(item.text, len(names)) for item in occurrence.items]
        amounts += [item.price * item.quantity if item.price > 0.0 else float("nan") for item in occurrence.items]
        counts.append(len(occurrence.items))
    return Rewards(
        arrival=np.array(arrivals, np.int64),
        customers=customers,
        names=list(names),
        items=np.array(items, np.int64),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        amounts=np.array(amounts, np.float64),
    )


def label(home: Home, reward: str, rewards: Rewards, options: Options, with_amounts: bool = False) -> Queries:
    """One query for each event of the reward. Raises TrainingError when there are none to learn from.

    `with_amounts`: with what each rewarded candidate was paid in the event.
    """
    asked = _with_earlier(rewards) if reward == VIEWED else np.ones(len(rewards.arrival), np.bool_)
    day = rewards.arrival // DAY
    most = options.queries_per_day or _most_a_day(day[asked], MOST_ROWS // options.candidates)
    asked &= _sample(day, asked, most, options.seed)
    chosen, popularity = _popular_by_day(rewards, options)
    places = np.flatnonzero(asked & np.array([len(chosen.get(of, ())) > 0 for of in day.tolist()], np.bool_))
    if not len(places):
        raise TrainingError(
            f"no {reward!r} events to learn from with others in the {options.window_days} days before: "
            "import some history (kairos import), or wait for events"
        )
    width = np.array([len(chosen[of]) for of in day[places].tolist()])
    owner = np.repeat(np.arange(len(places)), width)
    candidate = np.concatenate([chosen[of] for of in day[places].tolist()])
    now = rewards.arrival[places] - MICROSECOND
    hour, weekday = moments(now, [read_zone(home)] * len(places))
    rewarded, amount = _rewarded(rewards, places, owner, candidate)
    return Queries(
        kind="bootstrap",
        reward=reward,
        customers=[rewards.customers[at] for at in places.tolist()],
        now=now,
        customer_at=now,
        candidate_at=now,
        hour=hour,
        weekday=weekday,
        device=[""] * len(places),
        referrer=[""] * len(places),
        placement=[""] * len(places),
        inline={},
        candidates=rewards.names,
        owner=owner,
        candidate=candidate,
        rewarded=rewarded,
        popularity=np.concatenate([popularity[of] for of in day[places].tolist()]),
        amount=amount if with_amounts else None,
    )


def _with_earlier(rewards: Rewards) -> Flags:
    """Whether the same customer had an event of the kind shortly before."""
    earlier = np.zeros(len(rewards.arrival), np.bool_)
    last: dict[str, int] = {}
    for at, (customer, arrival) in enumerate(zip(rewards.customers, rewards.arrival.tolist(), strict=True)):
        earlier[at] = arrival - last.get(customer, -SESSION - 1) <= SESSION
        last[customer] = arrival
    return earlier


def _most_a_day(day: Ints, most: int) -> int:
    """The highest number a day with which at most `most` remain in all."""
    counts = np.sort(np.unique(day, return_counts=True)[1])
    left = most
    for at, count in enumerate(counts.tolist()):
        even = left // (len(counts) - at)
        if count > even:
            return max(even, 1)
        left -= count
    return int(counts[-1]) if len(counts) else 1


def _sample(day: Ints, asked: Flags, most: int, seed: int) -> Flags:
    """At most `most` of the asked of each day."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(asked))
    order = order[np.argsort(day[order], kind="stable")]
    starts = np.searchsorted(day[order], day[order])
    kept = np.zeros(len(day), np.bool_)
    kept[order[np.arange(len(order)) - starts < most]] = True
    return kept


def _popular_by_day(rewards: Rewards, options: Options) -> tuple[dict[int, Ints], dict[int, Floats]]:
    """Day -> its candidates by popularity in the window before it, and their share of the window's events.

    Where a shop has no more items than `candidates`, all of them are candidates from the first day that has a past.
    """
    day = rewards.arrival // DAY
    every = len(rewards.names) <= options.candidates
    count = np.zeros(len(rewards.names))
    window: deque[tuple[int, Floats, int]] = deque()
    events = 0
    chosen: dict[int, Ints] = {}
    popularity: dict[int, Floats] = {}
    days, firsts = (values.tolist() for values in np.unique(day, return_index=True))
    for number, first, behind in zip(days, firsts, [*firsts[1:], len(day)], strict=True):
        while window and window[0][0] < number - options.window_days:
            _, gone, times = window.popleft()
            count -= gone
            events -= times
        if events:
            ranked = np.argsort(-count, kind="stable")[: options.candidates]
            chosen[number] = ranked if every else ranked[count[ranked] > 0]
            popularity[number] = count[chosen[number]] / events
        items = rewards.items[rewards.starts[first] : rewards.starts[behind]]
        added = np.bincount(items, minlength=len(count)).astype(np.float64)
        window.append((number, added, behind - first))
        count += added
        events += behind - first
    return chosen, popularity


def _rewarded(rewards: Rewards, places: Ints, owner: Ints, candidate: Ints) -> tuple[Flags, Floats]:
    """Which rows' candidates are in their events, and what they were paid there: 0 for the others."""
    names = np.int64(len(rewards.names))
    counts = rewards.starts[places + 1] - rewards.starts[places]
    spread = np.repeat(np.arange(len(places)), counts)
    inside = np.repeat(rewards.starts[places] - (np.cumsum(counts) - counts), counts) + np.arange(len(spread))
    there, asked = spread * names + rewards.items[inside], owner * names + candidate
    order = np.argsort(there)  # an event has each item once
    at = np.minimum(np.searchsorted(there[order], asked), len(there) - 1)
    rewarded = there[order][at] == asked
    return rewarded, np.where(rewarded, rewards.amounts[inside][order][at], 0.0)


def count(home: Home) -> Counter[str]:
    """How many archived track events there are of each name."""
    table = archive.read(home.archive, ["event"], types=["track"])
    counted = table["event"].value_counts().to_pylist()
    return Counter({entry["values"]: entry["counts"] for entry in counted})
