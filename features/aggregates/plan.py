"""Where everything of a layout stands in its packed lists, and which aggregates close together: worked out once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.aging import parameters_of
from features.aggregates.keyed import KeyedKind
from features.aggregates.kinds import Kind  # noqa: TC001  # msgspec reads annotations at run time
from features.aggregates.windows import Whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from features.aggregates.aging import Floats, Parameters, Role
    from features.aggregates.declared import Aggregate
    from features.aggregates.rows import Layout

    Ints = NDArray[np.int64]
    _Grouped = tuple[type[Kind] | type[KeyedKind], str, list[int]]

ROLES: tuple[Role, ...] = ("value", "time", "age", "plain")


class Group(msgspec.Struct, frozen=True):
    """k aggregates of one class of kinds, closed together."""

    kind: type[Kind]
    size: int
    """k"""
    slots: tuple[slice, ...]
    """Where each slot of the k stands in the plan's order."""
    parameters: Parameters
    """(k, 1) each."""
    first: int
    """Place of its features among the view's: k of its first output, then k of its second, ..."""


class KeyedGroup(msgspec.Struct, frozen=True):
    """As Group, of keyed kinds with the same key."""

    kind: type[KeyedKind]
    size: int
    slots: tuple[slice, ...]
    parameters: Parameters
    first: int
    key: str
    tables: Ints
    """(k,) which of the view's tables are theirs."""
    columns: Ints
    """(columns, 1) 0, 1, ...: the columns of each table."""
    absent: list[Floats]
    """What stands for a key that is not in a table."""


class Plan(msgspec.Struct, frozen=True):
    """A layout's groups, and the names of its features in their order: whole tables, unkeyed, keyed ones."""

    head: Ints
    """(floats of all aggregates,) 0, 1, ..."""
    tables: Ints
    """(tables, 1) 0, 1, ..."""
    widths: Ints
    """(tables, 1) columns of each table."""
    order: Ints
    """Places in the head by what becomes of them: values that fade, the times they fade by, ages, all others."""
    values: slice
    times: slice
    half_lives: Floats
    """(values, 1)"""
    ages: slice
    whole: tuple[tuple[int, Whole], ...]
    """(table, kind) of each."""
    unkeyed: tuple[Group, ...]
    keyed: tuple[KeyedGroup, ...]
    names: tuple[str, ...]
    unkeyed_names: tuple[str, ...]


@lru_cache(maxsize=64)
def plan_of(layout: Layout) -> Plan:
    aggregates = layout.aggregates
    heads = _before([aggregate.kind.slots for aggregate in aggregates])
    tables = {at: one.kind for at, one in enumerate(aggregates) if isinstance(one.kind, KeyedKind)}
    table_of = {at: table for table, at in enumerate(tables)}
    whole = {at: kind for at, kind in tables.items() if isinstance(kind, Whole)}
    names = [aggregates[at].name for at in whole]
    groups = _grouped(aggregates)
    places = _order(groups, heads, aggregates)
    unkeyed: list[Group] = []
    keyed: list[KeyedGroup] = []
    for kind, key, members in groups:
        slots = tuple(places.slots[kind, key, slot] for slot in range(len(kind.roles)))
        parameters = parameters_of([aggregates[at].kind for at in members])
        parameters = {name: values[:, None] for name, values in parameters.items()}
        if issubclass(kind, KeyedKind):
            columns, owned = _upright(len(kind.key_roles)), np.array([table_of[at] for at in members], np.int64)
            absent = kind.absent()
            keyed.append(KeyedGroup(kind, len(members), slots, parameters, len(names), key, owned, columns, absent))
        else:
            unkeyed.append(Group(kind, len(members), slots, parameters, len(names)))
        outputs = zip(*[aggregates[at].outputs for at in members], strict=True)
        names += [name for same in outputs for name in same]
    return Plan(
        head=np.arange(sum(aggregate.kind.slots for aggregate in aggregates)),
        tables=_upright(len(tables)),
        widths=np.array([kind.columns for kind in tables.values()], np.int64)[:, None],
        order=places.order,
        values=slice(0, len(places.half_lives)),
        times=slice(len(places.half_lives), 2 * len(places.half_lives)),
        half_lives=places.half_lives,
        ages=slice(2 * len(places.half_lives), places.fixed),
        whole=tuple((table_of[at], kind) for at, kind in whole.items()),
        unkeyed=tuple(unkeyed),
        keyed=tuple(keyed),
        names=tuple(names),
        unkeyed_names=tuple(names[: keyed[0].first if keyed else len(names)]),
    )


class _Places(msgspec.Struct, frozen=True):
    """An order of the head, and where in it stands each slot of each group."""

    order: Ints
    slots: dict[tuple[type[Kind] | type[KeyedKind], str, int], slice]
    half_lives: Floats
    fixed: int
    """Where what does not change with time begins."""


def _order(groups: list[_Grouped], heads: list[int], aggregates: tuple[Aggregate, ...]) -> _Places:
    order: list[int] = []
    slots = {}
    half_lives: list[float] = []
    fixed = 0
    for role in ROLES:
        for kind, key, members in groups:
            for slot in [slot for slot, its in enumerate(kind.roles) if its == role]:
                slots[kind, key, slot] = slice(len(order), len(order) + len(members))
                order += [heads[at] + slot for at in members]
                if role == "value":
                    half_lives += parameters_of([aggregates[at].kind for at in members])["half_life"].tolist()
        if role == "age":
            fixed = len(order)
    return _Places(np.array(order, np.int64), slots, np.array(half_lives)[:, None], fixed)


def _grouped(aggregates: tuple[Aggregate, ...]) -> list[_Grouped]:
    """Class, key and places of the aggregates that can be closed together, those without keys first."""
    members: dict[tuple[type[Kind] | type[KeyedKind], str], list[int]] = {}
    for at, aggregate in enumerate(aggregates):
        if not isinstance(aggregate.kind, Whole):
            members.setdefault((type(aggregate.kind), aggregate.key or ""), []).append(at)
    groups = [(kind, key, places) for (kind, key), places in members.items()]
    return sorted(groups, key=lambda group: issubclass(group[0], KeyedKind))


def _before(sizes: list[int]) -> list[int]:
    """The sum of the sizes before each."""
    return [sum(sizes[:at]) for at in range(len(sizes))]


def _upright(count: int) -> Ints:
    return np.arange(count, dtype=np.int64)[:, None]
