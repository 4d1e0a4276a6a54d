"""The table of units as arrays: a row for each person who was enrolled and met one variant only; the rest, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.experiments.reports import folding
from service.experiments.reports.extraction import BOT, CLEAN, FORCED, UNASSIGNED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

    from service.experiments.reports.trials import Trial

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Segment(msgspec.Struct, frozen=True):
    """Of each unit, what the context of its enrolling decision said."""

    label: Ints
    """(n,) position in `labels`"""
    labels: list[str]


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Units that no metric counts."""

    met_two: int = 0
    forced: int = 0
    bots: int = 0
    unassigned: int = 0
    """Seen only while their row could not be read, or in flags whose moving chance was not told."""
    merged: int = 0
    """Turned out to be the same person as another one in the same variant: they count as one."""


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """Of n units in the analysis, and m measures of each."""

    arm: Ints
    """(n,)"""
    enrolled: Ints
    """(n,) microseconds"""
    chance: Floats
    """(n,) of the arm that it got"""
    segments: dict[str, Segment]
    events: Floats
    """(m, n) since the enrolment"""
    amount: Floats
    """(m, n) since the enrolment"""
    events_before: Floats
    """(m, n) in the lookback"""
    amount_before: Floats
    """(m, n) in the lookback"""
    daily: tuple[Ints, Ints, Ints, Floats, Floats]
    """Unit, measure, day since the enrolment, events, amount: where there were any."""
    met_arm: Ints
    """Of all who were enrolled, also those who met a second variant: the first; and with which chance."""
    met_chance: Floats
    left_out: LeftOut
    unconverted: int
    until: int
    """Microseconds: as far as the archive was read."""


def read(state: Connection, trial: Trial) -> Units:
    """The table as it stands in a state."""
    met = state.execute("select unit, arm, kind, chance, time, arrival from met order by arrival, time").fetchnumpy()
    ids, row = np.unique(np.asarray(met["unit"], np.int64), return_inverse=True)
    kind, arm = np.asarray(met["kind"]), np.asarray(met["arm"], np.int64)
    clean = kind == CLEAN
    first = _first(row[clean], np.flatnonzero(clean), len(ids))
    enrolled = first >= 0
    touched = {other: _marked(row[kind == other], len(ids)) for other in (FORCED, BOT, UNASSIGNED)}
    person = _persons(state, ids)
    two = _met_two(person[row[clean]], arm[clean], len(ids))[person]
    forced, bots = touched[FORCED], touched[BOT] & ~touched[FORCED]
    good = enrolled & ~two & ~forced & ~bots
    leader = _leaders(person, good, first)
    kept = np.flatnonzero(good & (leader == np.arange(len(ids))))
    place = np.full(len(ids), -1)
    place[kept] = np.arange(len(kept))
    target = np.where(good & (leader >= 0), place[leader], -1)
    counted = enrolled & ~forced & ~bots
    told = folding.read_told(state)
    totals = _totals(state, ids, target, trial, len(kept))
    return Units(
        arm=arm[first[kept]],
        enrolled=np.asarray(met["time"], np.int64)[first[kept]],
        chance=np.asarray(met["chance"], float)[first[kept]],
        segments=_segments(state, trial, ids[kept]),
        events=totals[0],
        amount=totals[1],
        events_before=totals[2],
        amount_before=totals[3],
        daily=totals[4],
        met_arm=arm[first[counted]],
        met_chance=np.asarray(met["chance"], float)[first[counted]],
        left_out=LeftOut(
            met_two=int((counted & two).sum()),
            forced=int(forced.sum()),
            bots=int(bots.sum()),
            unassigned=int((touched[UNASSIGNED] & ~enrolled & ~forced & ~bots).sum()),
            merged=int((good & (leader != np.arange(len(ids)))).sum()),
        ),
        unconverted=told["unconverted"],
        until=told["last"],
    )


def _first(owner: Ints, position: Ints, count: int) -> Ints:
    """Of each owner, the first of its positions, which ascend; -1 without any."""
    found = np.full(count, -1)
    found[owner[::-1]] = position[::-1]
    return found


def _marked(owner: Ints, count: int) -> NDArray[np.bool_]:
    marked = np.zeros(count, np.bool_)
    marked[owner] = True
    return marked


def _persons(state: Connection, ids: Ints) -> Ints:
    """Unit -> person: units whose ids were joined are one, wherever it stands in the chain."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = state.execute(
        "select a.unit as one, b.unit as other from links l join owners a on a.person = l.previous "
        "join owners b on b.person = l.person where a.unit <> b.unit"
    ).fetchnumpy()
    one, other = (np.asarray(pairs[name], np.int64) for name in ("one", "other"))
    there = _are_in(ids, one) & _are_in(ids, other)
    if not there.any():
        return np.arange(len(ids))
    ends = np.searchsorted(ids, one[there]), np.searchsorted(ids, other[there])
    graph = coo_matrix((np.ones(len(ends[0])), ends), (len(ids), len(ids)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _are_in(ids: Ints, some: Ints) -> NDArray[np.bool_]:
    """Whether each is among the ids, which ascend."""
    if not len(ids):
        return np.zeros(len(some), np.bool_)
    found: NDArray[np.bool_] = ids[np.minimum(np.searchsorted(ids, some), len(ids) - 1)] == some
    return found


def _met_two(person: Ints, arm: Ints, count: int) -> NDArray[np.bool_]:
    """(persons,) whether they met more than one variant."""
    least, most = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(least, person, arm)
    np.maximum.at(most, person, arm)
    return most > least


def _leaders(person: Ints, good: NDArray[np.bool_], first: Ints) -> Ints:
    """Unit -> the unit of its person that was enrolled first; itself where it is not in the analysis."""
    leaders = np.arange(len(person))
    rows = np.flatnonzero(good)
    rows = rows[np.bincount(person[rows], minlength=len(person))[person[rows]] > 1]
    order = rows[np.lexsort((first[rows], person[rows]))]
    starts = np.flatnonzero(np.diff(person[order], prepend=-1))
    spans = np.diff(np.append(starts, len(order)))
    leaders[order] = np.repeat(order[starts], spans)
    return leaders


def _totals(
    state: Connection, ids: Ints, target: Ints, trial: Trial, count: int
) -> tuple[Floats, Floats, Floats, Floats, tuple[Ints, Ints, Ints, Floats, Floats]]:
    rows = state.execute(
        "select unit, measure, day, sum(events)::double as events, sum(amount) as amount from totals "
        "group by unit, measure, day"
    ).fetchnumpy()
    unit, measure, day = (np.asarray(rows[name], np.int64) for name in ("unit", "measure", "day"))
    place = target[np.searchsorted(ids, unit)] if len(unit) else unit
    there = place >= 0
    place, measure, day = place[there], measure[there], day[there]
    events, amount = (np.asarray(rows[name], float)[there] for name in ("events", "amount"))
    many = len(trial.measures)
    before = day == folding.BEFORE

    def lay(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
        flat = np.bincount(measure[chosen] * count + place[chosen], values[chosen], many * count)
        return flat.reshape(many, count).astype(float)

    after = ~before
    daily = (place[after], measure[after], day[after], events[after], amount[after])
    return lay(events, after), lay(amount, after), lay(events, before), lay(amount, before), daily


def _segments(state: Connection, trial: Trial, kept: Ints) -> dict[str, Segment]:
    found = {}
    for at, name in enumerate(trial.analysis.segments):
        rows: Any = state.sql(
            "select unit, first(segments[?] order by arrival, time) as label from met where kind = 0 group by unit",
            params=[at + 1],
        ).to_arrow_table()
        label = pc.fill_null(rows["label"], "").combine_chunks().dictionary_encode()
        units = np.asarray(rows["unit"].to_numpy(), np.int64)
        order = np.argsort(units)
        codes = np.asarray(label.indices.to_numpy(), np.int64)[order[np.searchsorted(units, kept, sorter=order)]]
        found[name] = Segment(codes, label.dictionary.to_pylist())
    return found
