"""The catalog as a decision uses it: columns over its candidates, and look-ups by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features.ids import digest
from service.catalog.contents import Contents, compile_contents
from service.catalog.coverage import Limit, cover
from service.catalog.experiments import HELD, HOLDOUT, OPEN, Variant
from service.catalog.expressions import Formula, compile_formula, unite
from service.catalog.windows import columns
from service.experiments.assignment import Table, tabulate
from service.experiments.flags.evaluation import Split, Switch, compile_flags, version_flags
from service.experiments.variation import Varying, varying

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from numpy.typing import NDArray

    from service.catalog.limits import Group
    from service.catalog.schema import Candidate, Catalog, Placement
    from service.catalog.vocabulary import Use

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


class Compiled(msgspec.Struct, frozen=True):
    """One version of the catalog. Arrays are over all candidates, in the order of the document."""

    document: Catalog
    version: str
    zone: ZoneInfo
    candidates: tuple[Candidate, ...]
    place: dict[str, int]
    """Candidate id -> position."""
    by_digest: dict[int, int]
    """The same by the id's digest."""
    placements: dict[str, Placement]
    variants: dict[str, dict[str, Variant]]
    """Experiment id -> variant id -> variant; the global holdout is one."""
    groups: dict[str, Group]
    group_limits: dict[int, int]
    """Digest of a group's id -> how many of it may stand on one page, where that is bounded."""
    ids: Ints
    categories: Ints
    kinds: Ints
    group: Ints
    """Digest of the group's id; 0 without one."""
    price: Floats
    value: Floats
    """The number that the document gives; 0 where it is an expression."""
    weight: Floats
    opens: Ints
    """(n, windows) microseconds; a candidate may be shown while one window is open (from included, until not)."""
    closes: Ints
    personal_seconds: Floats
    """NaN without a personal window."""
    bought_seconds: Floats
    """Not if bought within; NaN without."""
    declined_seconds: Floats
    stock: Ints
    """-1 without bound."""
    rules: tuple[Formula, ...]
    """Each distinct rule once."""
    rule_features: tuple[str, ...]
    """Those that any of them reads."""
    rule_parts: dict[str, frozenset[str] | None]
    """Of traits and context."""
    rule_of: Ints
    """Position in `rules`; -1 without one."""
    worths: tuple[Formula, ...]
    """Each distinct expression of a value."""
    worth_parts: dict[str, frozenset[str] | None]
    worth_of: Ints
    """Position in `worths`; -1 where the value is a number."""
    permitted: dict[str, Bools]
    """Placement -> (n,) who may be shown there by the candidates' `placements` and the placement's `excluded`."""
    limits: tuple[Limit, ...]
    """Caps, then budgets."""
    contents: tuple[Contents, ...]
    experiments: Table
    """The running ones."""
    flags: dict[str, Switch | Split]
    flags_version: str
    """Another one whenever a flag may have another answer."""
    varying: dict[str, Varying]
    """Placement -> what may vary it."""
    varied: dict[tuple[str, tuple[tuple[str, Any], ...]], Placement] = {}
    """Placement and parameters that variants give it -> that placement, of those that were asked for before."""


def compile_catalog(catalog: Catalog, version: str) -> Compiled:
    candidates = tuple(catalog.candidates)
    zone = ZoneInfo(catalog.time_zone)
    place = {candidate.id: at for at, candidate in enumerate(candidates)}
    opens, closes = columns(candidates, zone)
    rules, rule_of = _formulas([candidate.rule for candidate in candidates], "rule")
    worths = [candidate.value if isinstance(candidate.value, str) else None for candidate in candidates]
    formulas, worth_of = _formulas(worths, "value")
    return Compiled(
        document=catalog,
        version=version,
        zone=zone,
        candidates=candidates,
        place=place,
        by_digest={digest(text): at for text, at in place.items()},
        placements={placement.id: placement for placement in catalog.placements},
        variants=_variants(catalog),
        groups={group.id: group for group in catalog.groups},
        group_limits={digest(group.id): group.at_most for group in catalog.groups if group.at_most is not None},
        ids=_digests(candidate.id for candidate in candidates),
        categories=_digests(candidate.category for candidate in candidates),
        kinds=_digests(candidate.kind for candidate in candidates),
        group=np.array([0 if c.group is None else digest(c.group) for c in candidates], np.int64),
        price=np.array([candidate.price for candidate in candidates]),
        value=np.array([attribute(candidate) for candidate in candidates]),
        weight=np.array([candidate.weight for candidate in candidates]),
        opens=opens,
        closes=closes,
        personal_seconds=_seconds(candidate.personal_window for candidate in candidates),
        bought_seconds=_seconds(candidate.not_if_bought_within for candidate in candidates),
        declined_seconds=_seconds(candidate.not_if_declined_within for candidate in candidates),
        stock=np.array([-1 if c.stock is None else c.stock for c in candidates], np.int64),
        rules=rules,
        rule_parts=unite(rules),
        rule_features=tuple(sorted({name for rule in rules for name in rule.features})),
        rule_of=rule_of,
        worths=formulas,
        worth_parts=unite(formulas),
        worth_of=worth_of,
        permitted={placement.id: _permitted(candidates, placement) for placement in catalog.placements},
        limits=cover(catalog),
        contents=tuple(compile_contents(candidate) for candidate in candidates),
        experiments=tabulate(catalog),
        flags=compile_flags(catalog),
        flags_version=version_flags(catalog),
        varying=varying(catalog),
        varied={},
    )


def _variants(catalog: Catalog) -> dict[str, dict[str, Variant]]:
    variants = {experiment.id: {v.id: v for v in experiment.variants} for experiment in catalog.experiments}
    if catalog.holdout is not None:
        variants[HOLDOUT] = {name: Variant(id=name) for name in (HELD, OPEN)}
    return variants


def attribute(candidate: Candidate) -> float:
    """The value that a model sees as a candidate's attribute: an expression has none until it is evaluated."""
    return 0.0 if isinstance(candidate.value, str) else candidate.value


def pool(compiled: Compiled, placement: Placement, supplied: list[str] | None = None) -> Ints:
    """Positions of the candidates that compete in a placement, or of those the request supplied."""
    ids = placement.candidates if supplied is None else supplied
    permitted = compiled.permitted[placement.id]
    if ids is None:
        return np.flatnonzero(permitted)
    named = np.array([compiled.place[text] for text in ids if text in compiled.place], np.int64)
    return named[permitted[named]]


def _formulas(texts: list[str | None], use: Use) -> tuple[tuple[Formula, ...], Ints]:
    distinct = {text: at for at, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
    positions = np.array([-1 if text is None else distinct[text] for text in texts], np.int64)
    return tuple(compile_formula(text, use) for text in distinct), positions


def _permitted(candidates: tuple[Candidate, ...], placement: Placement) -> Bools:
    excluded = frozenset(placement.excluded)
    return np.array([(not c.placements or placement.id in c.placements) and c.id not in excluded for c in candidates])


def _digests(texts: Iterable[str]) -> Ints:
    return np.array([digest(text) for text in texts], np.int64)


def _seconds(durations: Iterable[timedelta | None]) -> Floats:
    return np.array([np.nan if duration is None else duration.total_seconds() for duration in durations])
