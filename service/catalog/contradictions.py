"""What a catalog's shape cannot tell: what refers to what, defaults that might not be shown, wrong expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from service.catalog import contents, windows
from service.catalog.expressions import ExpressionError, compile_formula
from service.catalog.schema import CHAMPION
from service.experiments import contradictions as experiments

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from features.documents import Place
    from service.catalog.limits import Scope
    from service.catalog.schema import Candidate, Catalog, Placement
    from service.catalog.vocabulary import Use

    Found = Iterator[tuple[Place, str]]


def find(catalog: Catalog, aliases: Collection[str] | None = None) -> Found:
    """(place, what is wrong) of everything; models' aliases are not looked for if none are given."""
    yield from _repeated(("candidates",), [candidate.id for candidate in catalog.candidates])
    yield from _repeated(("placements",), [placement.id for placement in catalog.placements])
    yield from _repeated(("groups",), [group.id for group in catalog.groups])
    yield from _repeated(("caps",), [cap.id for cap in catalog.caps])
    yield from _repeated(("budgets",), [budget.id for budget in catalog.budgets], {cap.id for cap in catalog.caps})
    yield from _of_placements(catalog)
    yield from _of_models(catalog, aliases)
    yield from _of_candidates(catalog)
    yield from experiments.find(catalog, aliases)
    for at, cap in enumerate(catalog.caps):
        yield from _of_scope(catalog, ("caps", at, "scope"), cap.scope)
    for at, budget in enumerate(catalog.budgets):
        yield from _of_scope(catalog, ("budgets", at, "scope"), budget.scope)


def _of_placements(catalog: Catalog) -> Found:
    known = {candidate.id: candidate for candidate in catalog.candidates}
    for at, placement in enumerate(catalog.placements):
        place = ("placements", at)
        if placement.default not in known:
            yield (*place, "default"), f"there is no candidate {placement.default!r}"
        else:
            for problem in _barriers(known[placement.default], placement):
                yield (*place, "default"), f"a default may always be shown, and {placement.default!r} {problem}"
        for name in ("candidates", "excluded", "pinned"):
            yield from _unknown((*place, name), getattr(placement, name) or (), known, "candidate")
        yield from _repeated((*place, "pinned"), list(placement.pinned), below=())
        for position, pinned in enumerate(placement.pinned):
            if pinned in known and not _competes(known[pinned], placement):
                yield (*place, "pinned", position), f"{pinned!r} does not compete here"


def _of_models(catalog: Catalog, aliases: Collection[str] | None) -> Found:
    for at, placement in enumerate(catalog.placements):
        if aliases is not None and placement.model not in {*aliases, CHAMPION}:
            known = ", ".join(sorted(aliases)) or "there is none"
            yield ("placements", at, "model"), f"no model has the alias {placement.model!r} ({known})"


def named_models(catalog: Catalog) -> set[str]:
    """The aliases that have to be there: of placements, and of variants of running experiments."""
    named = {placement.model for placement in catalog.placements}
    variants = (one for trial in catalog.experiments if trial.status == "running" for one in trial.variants)
    return (named | {one.model for one in variants if one.model is not None}) - {CHAMPION}


def _barriers(candidate: Candidate, placement: Placement) -> Iterator[str]:
    for name in ("rule", "stock", "personal_window", "not_if_bought_within", "not_if_declined_within"):
        if getattr(candidate, name) is not None:
            yield f"has a `{name}`"
    for name in ("windows", "conflicts"):
        if getattr(candidate, name):
            yield f"has `{name}`"
    if isinstance(candidate.value, str):
        yield "has an expression as `value`"
    if candidate.id in placement.excluded:
        yield "is `excluded` here"
    if candidate.placements and placement.id not in candidate.placements:
        yield "is for other placements only"


def _competes(candidate: Candidate, placement: Placement) -> bool:
    named = placement.candidates is None or candidate.id in placement.candidates
    placed = not candidate.placements or placement.id in candidate.placements
    return named and placed and candidate.id not in placement.excluded


def _of_candidates(catalog: Catalog) -> Found:
    placements = {placement.id for placement in catalog.placements}
    groups = {group.id for group in catalog.groups}
    zone = ZoneInfo(catalog.time_zone)
    for at, candidate in enumerate(catalog.candidates):
        place = ("candidates", at)
        if candidate.group is not None and candidate.group not in groups:
            yield (*place, "group"), f"there is no group {candidate.group!r}"
        yield from _unknown((*place, "placements"), candidate.placements, placements, "placement")
        yield from _unknown((*place, "conflicts"), candidate.conflicts, groups, "group")
        for position, one in enumerate(candidate.content_for):
            if one.placement is not None and one.placement not in placements:
                yield (*place, "content_for", position, "placement"), f"there is no placement {one.placement!r}"
        for position, problem in windows.contradictions(candidate, zone):
            yield (*place, "windows", position), problem
        if candidate.rule is not None:
            yield from _of_expression((*place, "rule"), candidate.rule, "rule")
        if isinstance(candidate.value, str):
            yield from _of_expression((*place, "value"), candidate.value, "value")
        for inner, problem in contents.problems(candidate):
            yield (*place, *inner), problem


def _of_expression(place: Place, text: str, use: Use) -> Found:
    try:
        compile_formula(text, use)
    except ExpressionError as error:
        yield place, str(error)


def _of_scope(catalog: Catalog, place: Place, scope: Scope) -> Found:
    candidates, placements = catalog.candidates, catalog.placements
    defaults = {placement.default for placement in placements}
    yield from _unknown((*place, "candidates"), scope.candidates, {one.id for one in candidates}, "candidate")
    yield from _unknown((*place, "categories"), scope.categories, {one.category for one in candidates}, "category")
    yield from _unknown((*place, "groups"), scope.groups, {group.id for group in catalog.groups}, "group")
    yield from _unknown((*place, "tags"), scope.tags, {tag for one in candidates for tag in one.tags}, "tag")
    yield from _unknown((*place, "placements"), scope.placements, {one.id for one in placements}, "placement")
    yield from _unknown((*place, "channels"), scope.channels, {one.channel for one in placements}, "channel")
    for at, candidate in enumerate(scope.candidates):
        if candidate in defaults:
            yield (*place, "candidates", at), f"{candidate!r} is a placement's default, which nothing bounds"


def _unknown(place: Place, named: Iterable[str], known: Collection[str], what: str) -> Found:
    for at, text in enumerate(named):
        if text not in known:
            yield (*place, at), f"there is no {what} {text!r}"


def _repeated(place: Place, ids: list[str], before: Collection[str] = (), below: Place = ("id",)) -> Found:
    seen: set[str] = set(before)
    for at, text in enumerate(ids):
        if text in seen:
            yield (*place, at, *below), f"{text!r} stands here a second time"
        seen.add(text)
