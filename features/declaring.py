"""A declaration from words, as they stand on a command line. It refuses what no event could fill, and says why.

Light on purpose: a declaration has to be known before anything makes layouts of the declarations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from features.aggregates.aging import DAY, HOUR, MINUTE
from features.aggregates.declared import KINDS, VIEWS, Aggregate, DeclarationError, Entity, flaw
from features.aggregates.derived import DERIVED
from features.aggregates.given import ATTRIBUTES, REQUESTED
from features.aggregates.kinds import Value  # noqa: TC001  # msgspec reads annotations at run time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STATELESS = frozenset({*DERIVED, *(given.name for given in (*ATTRIBUTES, *REQUESTED))})
UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": 1.0}


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said of a declaration; None for what is not. Durations as 3d, 36h, 90m or 30s."""

    kind: str
    events: Sequence[str]
    tries: Sequence[str] = ()
    """The second group of events, of a rate."""
    entity: Entity = "customer"
    subject: str | None = None
    value: Value = "one"
    key: str | None = None
    half_life: str | None = None
    length: str | None = None
    hop: str | None = None
    bound: int | None = None
    prior: float | None = None
    strength: float | None = None


def declare(words: Words) -> Aggregate:
    """The declaration. Raises DeclarationError.

    >>> declare(Words(kind="decayed", events=["Product Viewed"], half_life="3d")).name
    'customer__product_viewed__decayed_3d'
    """
    if (kind := KINDS.get(words.kind)) is None:
        raise DeclarationError(f"no kind {words.kind!r}: there are {', '.join(KINDS)}")
    said: dict[str, Any] = {name: _duration(name, getattr(words, name)) for name in ("half_life", "length", "hop")}
    said |= {name: getattr(words, name) for name in ("bound", "prior", "strength")}
    said = {name: value for name, value in said.items() if value is not None}
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    if unknown := said.keys() - fields.keys():
        raise DeclarationError(
            f"{words.kind} has no {_options(unknown)}: it takes {_options(fields) or 'no parameters'}"
        )
    if missing := {name for name, field in fields.items() if field.required} - said.keys():
        raise DeclarationError(f"{words.kind} needs {_options(missing)}")
    groups = (tuple(words.events), tuple(words.tries)) if words.tries else (tuple(words.events),)
    aggregate = Aggregate(
        entity=words.entity,
        subject=words.subject or _snake(words.events[0] if words.events else ""),
        events=groups,
        kind=kind(**said),
        value=words.value,
        key=words.key,  # type: ignore[arg-type]  # the command line offers these two only
    )
    if not re.fullmatch(r"[a-z0-9_]+", aggregate.subject):
        raise DeclarationError(f"the subject {aggregate.subject!r} is not a word of a-z, 0-9 and _: say another")
    if (reason := flaw(aggregate)) is not None:
        raise DeclarationError(reason)
    return aggregate


def find(names: Iterable[str]) -> list[Aggregate]:
    """Declared aggregates by their names or those of their features; all without any. Raises DeclarationError."""
    every = [aggregate for aggregates in VIEWS.values() for aggregate in aggregates]
    found = []
    for name in names:
        named = [aggregate for aggregate in every if name == aggregate.name or name in aggregate.outputs]
        if name in STATELESS:
            raise DeclarationError(f"{name} has no state of its own: what it is made of can be checked, see the list")
        if not named:
            raise DeclarationError(f"{name} is not declared: see `kairos features list`")
        found += named
    return found or every


def write(aggregate: Aggregate) -> str:
    """The line for features/aggregates/declared.py."""
    parts = [f"entity={_quote(aggregate.entity)}", f"subject={_quote(aggregate.subject)}"]
    groups = [
        "(" + ", ".join(map(_quote, group)) + ("," if len(group) == 1 else "") + ")" for group in aggregate.events
    ]
    parts.append("events=(" + ", ".join(groups) + ("," if len(groups) == 1 else "") + ")")
    parameters = ", ".join(f"{name}={getattr(aggregate.kind, name)!r}" for name in aggregate.kind.__struct_fields__)
    parts.append(f"kind={type(aggregate.kind).__name__}({parameters})")
    parts += [f"value={_quote(aggregate.value)}"] if aggregate.value != "one" else []
    parts += [f"key={_quote(aggregate.key)}"] if aggregate.key else []
    return f"Aggregate({', '.join(parts)}),"


def _duration(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    if (match := re.fullmatch(r"(\d+(?:\.\d+)?)([dhms])", text.strip())) is None:
        raise DeclarationError(f"{_options([name])} {text!r} is not a duration such as 3d, 36h, 90m or 30s")
    return float(match[1]) * UNITS[match[2]]


def _options(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))


def _snake(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
