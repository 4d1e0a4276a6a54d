"""Who competes in a placement, and all that the catalog says of them: worked out once a frame, not at each decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.ids import digest
from models.policy import NOT_COUNTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from service.catalog.compiled import Compiled
    from service.catalog.coverage import Limit
    from service.catalog.schema import Placement

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

STOCK = "stock"
PERSONAL = "customer"


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A cap, a budget or the stock, over the pool of one placement."""

    name: str
    """As reasons tell it: `cap:<id>`, `stock`."""
    limit: Limit | None
    """None: the stock."""
    scope: str
    """What is counted together in the ledger, but for the period and the label; empty for what each customer has."""
    labels: Ints
    """(m,) what is counted together within the scope; NOT_COUNTED for whom it does not count."""
    most: Ints
    """(m,)"""
    axes: tuple[str, ...]
    """Of `candidate`, `category` and `group`, what labels tell apart."""
    placements: frozenset[int] = frozenset()
    """Digests of those whose contacts count here."""
    channel: int = 0
    """Digest of the channel, where each has a count of its own."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """m candidates; arrays are (m,) and in their order. What is None concerns nobody."""

    placement: Placement
    places: Ints
    """Positions in the catalog."""
    ids: Ints
    categories: Ints
    kinds: Ints
    groups: Ints
    price: Floats
    value: Floats
    weight: Floats
    opens: Ints | None
    """(m, windows)"""
    closes: Ints | None
    bought: Floats | None
    declined: Floats | None
    personal: Floats | None
    rules: tuple[tuple[int, Bools], ...]
    """Each rule by its position in the catalog, and who has it."""
    worth_of: Ints | None
    conflicts: dict[int, Bools]
    """Group -> who does not stand on a page with it."""
    bounds: tuple[Bound, ...]
    pinned: tuple[int, ...]
    """Positions in the pool, in their order."""

    @property
    def needs_features(self) -> bool:
        """Whether who may be shown, and at what value, depends on the customer's features."""
        return not (self.bought is None and self.declined is None and not self.rules and self.worth_of is None)

    @property
    def is_bounded(self) -> bool:
        """Whether the ledger has a say."""
        return bool(self.bounds) or self.personal is not None


def build(compiled: Compiled, placement: Placement, places: Ints) -> Pool:
    """The pool of the candidates at `places`."""
    groups = compiled.group[places]
    position = {place: at for at, place in enumerate(places.tolist())}
    pinned = [position[compiled.place[text]] for text in placement.pinned if compiled.place[text] in position]
    opens, closes = compiled.opens[places], compiled.closes[places]
    windowed = bool((opens[:, 0] > -(2**62)).any() or (closes[:, 0] < 2**62).any() or opens.shape[1] > 1)
    return Pool(
        placement=placement,
        places=places,
        ids=compiled.ids[places],
        categories=compiled.categories[places],
        kinds=compiled.kinds[places],
        groups=groups,
        price=compiled.price[places],
        value=compiled.value[places],
        weight=compiled.weight[places],
        opens=opens if windowed else None,
        closes=closes if windowed else None,
        bought=_given(compiled.bought_seconds[places]),
        declined=_given(compiled.declined_seconds[places]),
        personal=_given(compiled.personal_seconds[places]),
        rules=_rules(compiled.rule_of[places]),
        worth_of=_chosen(compiled.worth_of[places]),
        conflicts=_conflicts(compiled, places),
        bounds=_bounds(compiled, placement, places),
        pinned=tuple(pinned),
    )


def reweigh(pool: Pool, weights: Mapping[int, float]) -> Pool:
    """The pool with other weights of some candidates, by their positions in the catalog."""
    if not weights:
        return pool
    own = pool.weight.copy()
    for place, weight in weights.items():
        own[pool.places == place] = weight
    return msgspec.structs.replace(pool, weight=own)


SPREAD = 0x9E3779B97F4A7C15
"""An odd number of 64 bits near the golden section: products with it differ in their high bits."""
WORD = 2**64 - 1


def label(axes: Sequence[str], columns: dict[str, Ints]) -> Ints:
    """One number for each combination of the axes; 0 for all together."""
    mixed = np.zeros(len(columns["candidate"]), np.uint64)
    for axis in axes:
        mixed = (mixed ^ columns[axis].astype(np.uint64)) * np.uint64(SPREAD)
    return (mixed >> np.uint64(2)).astype(np.int64)


def label_of(axes: Sequence[str], digests: dict[str, int]) -> int:
    """The same of one candidate."""
    mixed = 0
    for axis in axes:
        mixed = ((mixed ^ digests[axis]) * SPREAD) & WORD
    return mixed >> 2


def _given(seconds: Floats) -> Floats | None:
    return None if np.isnan(seconds).all() else seconds


def _chosen(positions: Ints) -> Ints | None:
    return positions if (positions >= 0).any() else None


def _rules(rule_of: Ints) -> tuple[tuple[int, Bools], ...]:
    return tuple((rule, rule_of == rule) for rule in np.unique(rule_of[rule_of >= 0]).tolist())


def _conflicts(compiled: Compiled, places: Ints) -> dict[int, Bools]:
    against: dict[int, Bools] = {}
    for at, place in enumerate(places.tolist()):
        for group in compiled.candidates[place].conflicts:
            against.setdefault(digest(group), np.zeros(len(places), bool))[at] = True
    return against


def _bounds(compiled: Compiled, placement: Placement, places: Ints) -> tuple[Bound, ...]:
    columns = {
        "candidate": compiled.ids[places],
        "category": compiled.categories[places],
        "group": compiled.group[places],
    }
    bounds = []
    for limit in compiled.limits:
        covers = limit.covers[places]
        if placement.id not in limit.placements or not covers.any():
            continue
        axes = tuple(axis for axis in limit.per if axis in columns)
        here = {"placement": placement.id, "channel": placement.channel}
        where = [here[axis] for axis in limit.per if axis in here]
        bounds.append(
            Bound(
                name=f"{'cap' if limit.per else 'budget'}:{limit.id}",
                limit=limit,
                scope="" if PERSONAL in limit.per else "\x1f".join((limit.id, *where)),
                labels=np.where(covers, label(axes, columns), NOT_COUNTED),
                most=np.full(len(places), limit.limit),
                axes=axes,
                placements=frozenset(map(digest, [placement.id] if "placement" in limit.per else limit.placements)),
                channel=digest(placement.channel) if "channel" in limit.per else 0,
            )
        )
    stock = compiled.stock[places]
    if (stock >= 0).any():
        labels = np.where(stock >= 0, label(("candidate",), columns), NOT_COUNTED)
        bounds.append(Bound(name=STOCK, limit=None, scope=STOCK, labels=labels, most=stock, axes=("candidate",)))
    return tuple(bounds)
