"""What a flag gives to a unit, and why: plain flags by their rules, an experiment's values by its variants. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from service.catalog.experiments import HELD, HOLDOUT
from service.catalog.expressions import compile_formula
from service.catalog.windows import moment
from service.experiments.assignment import Assigned, Units, assign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.catalog.compiled import Compiled
    from service.catalog.experiments import Experiment, Flag
    from service.catalog.expressions import Formula
    from service.catalog.schema import Catalog
    from service.experiments.assignment import Entry
    from service.experiments.subjects import Subject

Reason = Literal["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"]
"""As OFREP names them. UNKNOWN: no rule holds, the unit is in no variant, or the customer could not be read."""


class Evaluated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of one flag, in the shape of OFREP. Without `value` the program uses what it has."""

    key: str
    reason: Reason
    variant: str
    value: Any = msgspec.UNSET
    metadata: dict[str, bool | int | float | str] = {}


class Switch(msgspec.Struct, frozen=True):
    """A plain flag with its rules compiled."""

    flag: Flag
    rules: tuple[tuple[Formula, str], ...]


class Split(msgspec.Struct, frozen=True):
    """An experiment whose variants have values."""

    experiment: Experiment
    values: dict[str, Any]
    control: str
    """What units have that are in no variant."""
    starts: int
    ends: int


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    units: Units
    """The customer's is empty where the row could not be read."""
    subject: Subject
    bot: bool = False


def compile_flags(catalog: Catalog) -> dict[str, Switch | Split]:
    """All flags by their ids."""
    zone = ZoneInfo(catalog.time_zone)
    flags: dict[str, Switch | Split] = {
        flag.id: Switch(flag, tuple((compile_formula(one.when, "targeting"), one.variant) for one in flag.rules))
        for flag in catalog.flags
    }
    for one in catalog.experiments:
        values = {variant.id: variant.value for variant in one.variants}
        if any(value is not None for value in values.values()):
            control = one.analysis.control or one.variants[0].id
            span = moment(one.starts, zone, ends=False), moment(one.ends, zone, ends=True)
            flags[one.id] = Split(one, values, control, *span)
    return flags


def version_flags(catalog: Catalog) -> str:
    """A digest of all that answers depend on, but for the customer and the moment."""
    said = catalog.model_dump_json(include={"flags", "experiments", "holdout", "time_zone"}, exclude_defaults=True)
    return hashlib.blake2b(said.encode(), digest_size=6).hexdigest()


def version_at(compiled: Compiled, now: int) -> str:
    """The same with what begins and ends by itself: another one where values may be others than before."""
    splits = [flag for flag in compiled.flags.values() if isinstance(flag, Split)]
    return f"{compiled.flags_version}.{sum((one.starts <= now) + (one.ends <= now) for one in splits)}"


def evaluate(compiled: Compiled, keys: Iterable[str], asking: Asking) -> list[Evaluated]:
    """Of flags that there are, in the order of `keys`."""
    wanted = [(key, compiled.flags[key]) for key in keys]
    about = {key for key, flag in wanted if isinstance(flag, Split)}
    assigned = draw(compiled, asking, lambda entry: entry.id in about) if about else Assigned({}, {})
    return [
        _switch(flag.flag, flag, asking) if isinstance(flag, Switch) else _split(compiled, flag, asking, assigned)
        for _, flag in wanted
    ]


def draw(compiled: Compiled, asking: Asking, concerns: Callable[[Entry], bool]) -> Assigned:
    """The variants of the experiments that `concerns` names; a bot has none."""
    units = Units("") if asking.bot else asking.units
    return assign(compiled.experiments, units, asking.subject.now, concerns, {}, asking.subject.holds)


def _switch(flag: Flag, switch: Switch, asking: Asking) -> Evaluated:
    if not flag.enabled:
        return Evaluated(key=flag.id, reason="DISABLED", variant="")
    for formula, variant in switch.rules:
        if asking.subject.holds(formula):
            return Evaluated(key=flag.id, reason="TARGETING_MATCH", variant=variant, value=flag.variants[variant])
    reason: Reason = "UNKNOWN" if switch.rules else "STATIC"
    return Evaluated(key=flag.id, reason=reason, variant=flag.default, value=flag.variants[flag.default])


def _split(compiled: Compiled, split: Split, asking: Asking, assigned: Assigned) -> Evaluated:
    experiment, name = split.experiment, split.experiment.id
    about: dict[str, bool | int | float | str] = {"experiment": name}
    if experiment.status == "rolled_out" and experiment.rolled_out is not None:
        is_held = compiled.document.holdout is not None and _is_held(compiled, asking)
        variant = split.control if is_held else experiment.rolled_out
        return Evaluated(key=name, reason="STATIC", variant=variant, value=split.values[variant], metadata=about)
    if experiment.status != "running" or not split.starts <= asking.subject.now < split.ends:
        return Evaluated(key=name, reason="DISABLED", variant="", metadata=about)
    given = assigned.variants.get(name)
    if given is None:
        about["enrolled"] = False
        value = split.values[split.control]
        return Evaluated(key=name, reason="UNKNOWN", variant=split.control, value=value, metadata=about)
    about |= {"variant": given, "bucket": assigned.buckets[name], "enrolled": True}
    if name in assigned.chances:  # weights move: the exposure is to say it
        about["chance"] = assigned.chances[name]
    return Evaluated(key=name, reason="SPLIT", variant=given, value=split.values[given], metadata=about)


def _is_held(compiled: Compiled, asking: Asking) -> bool:
    """Whoever cannot be told from the held is taken for one of them."""
    return draw(compiled, asking, lambda _: False).variants.get(HOLDOUT, HELD) == HELD
