"""What all decisions of a moment share: the catalog with its candidates' live states, aligned, swapped as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features.aggregates.aging import DAY, fade
from features.aggregates.columns import Columns, close, decode_blank, decode_rows, slot_of
from features.aggregates.engine import TOTAL_ID
from features.aggregates.rows import LAYOUTS, blank, pack
from features.lifetimes import is_expired
from models.matrix import close_candidates
from service import metrics
from service.catalog.compiled import Compiled, pool
from service.decisions import pools as pools_of
from service.experiments.variation import narrowing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from features.snapshots import Head
    from features.streaming import StoredRow
    from service.catalog.schema import Placement
    from service.decisions.pools import Pool

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

SEEN = slot_of(LAYOUTS["candidate"], "candidate__promotion__rate_30d") + 2
"""Behind the clicks of a rate stand the exposures, and the time they fade by."""
SEEN_HALF_LIFE = 30 * DAY
POPULARITY = ("candidate__order_completed__decayed_60d", "candidate__product_viewed__decayed_7d")
"""What a shortlist is sorted by; the second breaks the first's ties."""
FRESH_SHARE = 0.25
"""Of a shortlist, for those seen least, where a placement samples who was hardly seen: nobody else would show them."""


class Frame(msgspec.Struct, frozen=True):
    """A catalog and a snapshot that belong together. Columns are in the catalog's order."""

    compiled: Compiled
    head: Head | None
    """None: no snapshot could be read yet."""
    candidates: Columns
    totals: Columns
    successors: Mapping[int, StoredRow]
    pools: dict[str, Pool]
    """Placement -> the candidates that compete, the shortlisted ones."""
    varied: dict[tuple[str, str, str], Pool] = {}
    """The same by experiment, variant and placement, of variants that say who competes."""
    opened: dict[int, Columns] = {}
    """Successors that were asked for before, decoded."""
    closed: dict[float, dict[str, Floats]] = {}
    """The candidates' features as of the last second that was asked for."""
    supplied: tuple[dict[str, Any], ...] = ()
    """Candidates as a request described them; those that the catalog does not know have their `attributes`."""

    def candidates_at(self, now: float) -> dict[str, Floats]:
        """What is known of all candidates whoever asks, closed once for all decisions of a second."""
        second = np.floor(now)
        found = self.closed.get(second)
        if found is None:
            everyone = np.zeros(self.candidates.size, np.int64)
            found = close_candidates(self.candidates, self.totals, np.array([now]), everyone)
            self.closed.clear()
            self.closed[second] = found
        return found

    def successors_of(self, item: int) -> Columns:
        """What others viewed after an item, by its digest."""
        found = self.opened.get(item)
        if found is None:
            layout, row = LAYOUTS["successors"], self.successors.get(item)
            found = decode_blank(layout) if row is None else decode_rows(layout, [(row.numbers, row.ids)])
            self.opened[item] = found
        return found

    def exposures_at(self, now: float) -> Floats:
        """(n,) how often each candidate was seen lately: a decayed count of 30 days."""
        return exposures_of(self.candidates, now)


def exposures_of(candidates: Columns, now: float) -> Floats:
    """(n,) how often each of the rows was seen lately."""
    seen, time = candidates.head[:, SEEN], candidates.head[:, SEEN + 1]
    return fade(seen, time, np.full(len(seen), now), SEEN_HALF_LIFE)


def build(
    compiled: Compiled,
    head: Head | None,
    candidates: Mapping[int, StoredRow],
    successors: Mapping[int, StoredRow],
) -> Frame:
    """A frame of a snapshot's rows, by digest."""
    layout = LAYOUTS["candidate"]
    empty = pack(blank(layout, ""))
    known = (_current(candidates.get(key), head) for key in compiled.ids.tolist())
    columns = decode_rows(layout, [empty if row is None else (row.numbers, row.ids) for row in known])
    total = _current(candidates.get(TOTAL_ID), head)
    totals = decode_blank(layout) if total is None else decode_rows(layout, [(total.numbers, total.ids)])
    renown = _renown(columns, head)
    pools = {name: _compete(compiled, placement, renown) for name, placement in compiled.placements.items()}
    return Frame(compiled, head, columns, totals, successors, pools, _varied(compiled, renown))


class _Renown(msgspec.Struct, frozen=True):
    """(n,) each, as of the snapshot."""

    popularity: tuple[Floats, ...]
    exposures: Floats


def _compete(compiled: Compiled, placement: Placement, renown: _Renown) -> Pool:
    competing = pool(compiled, placement)
    kept = [compiled.place[text] for text in (placement.default, *placement.pinned)]
    if placement.thompson:
        fresh = competing[(renown.exposures[competing] < placement.thompson) & ~np.isin(competing, kept)]
        least = fresh[np.argsort(renown.exposures[fresh], kind="stable")]
        kept += least[: int(placement.shortlist * FRESH_SHARE)].tolist()
    places = _shortlist(competing, renown.popularity, placement.shortlist, kept)
    return pools_of.build(compiled, placement, places)


def _varied(compiled: Compiled, renown: _Renown) -> dict[tuple[str, str, str], Pool]:
    pools = {}
    for experiment, variant in narrowing(compiled.document.experiments):
        for name in compiled.placements if experiment.placements is None else experiment.placements:
            own = compiled.placements[name].model_copy(update={"candidates": list(variant.candidates or ())})
            pools[experiment.id, variant.id, name] = _compete(compiled, own, renown)
    return pools


def _current(row: StoredRow | None, head: Head | None) -> StoredRow | None:
    """A candidate's row unless it is missing by the view's TTL: its age is that in its snapshot."""
    if row is None or head is None or not is_expired("candidate", row.applied, head.time):
        return row
    metrics.EXPIRED.labels("candidate").inc()
    return None


def _renown(columns: Columns, head: Head | None) -> _Renown:
    now = 0.0 if head is None else head.time / 1e6
    closed = close(columns, np.full(columns.size, now))
    return _Renown(tuple(closed[name] for name in POPULARITY), exposures_of(columns, now))


def _shortlist(positions: Ints, popularity: tuple[Floats, ...], most: int, kept: list[int]) -> Ints:
    """The most popular `most` of the positions, in the catalog's order; those `kept` always compete."""
    if len(positions) <= most:
        return positions
    first, second = (values[positions] for values in popularity)
    ranked = positions[np.lexsort((positions, -second, -first))]
    always = ranked[np.isin(ranked, kept)][:most]
    others = ranked[~np.isin(ranked, kept)][: most - len(always)]
    return np.sort(np.concatenate([always, others]))
