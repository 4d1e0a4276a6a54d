"""What the variants in force make of a placement: its parameters, who competes, their weights and their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from service.catalog.contents import Contents, compile_contents
from service.catalog.experiments import HOLDOUT, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.catalog.compiled import Compiled
    from service.catalog.experiments import Experiment, Variant
    from service.catalog.schema import Candidate, Catalog, Placement

MOST_KEPT = 10_000
"""Varied placements that are kept at a time."""
PARAMETERS = ("model", "strategy", "value_from", "exploration")
"""Of a variant and of a placement alike."""


class Variation(msgspec.Struct, frozen=True, kw_only=True):
    placement: Placement
    competing: tuple[str, str] | None = None
    """Experiment and variant whose candidates compete; None: the placement's own."""
    weights: dict[int, float] = {}
    """Position in the catalog -> weight, where that is not the candidate's own."""
    contents: dict[int, Contents] = {}


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What one variant changes."""

    order: int
    """Of its experiment in the catalog: later ones lie over earlier ones."""
    said: dict[str, Any]
    """Parameters of the placement."""
    competing: tuple[str, str] | None
    weights: dict[int, float]
    contents: dict[int, dict[str, Any]]
    """Position in the catalog -> content that is laid over."""


class Varying(msgspec.Struct, frozen=True):
    """What may vary one placement."""

    effects: dict[tuple[str, str], Effect]
    """By experiment and variant, of those that change anything."""
    rolled_out: tuple[tuple[str, Effect], ...]
    """By experiment: of everybody but the holdout."""


def varying(catalog: Catalog) -> dict[str, Varying]:
    """By placement."""
    place = {candidate.id: at for at, candidate in enumerate(catalog.candidates)}
    found = {}
    for placement in catalog.placements:
        here = [one for one in catalog.experiments if one.placements is None or placement.id in one.placements]
        effects = {
            (one.id, variant.id): _effect(order, one.id, variant, place)
            for order, one in enumerate(here)
            for variant in one.variants
            if changes(variant)
        }
        rolled = ((one.id, one.rolled_out or "") for one in here if one.status == "rolled_out")
        found[placement.id] = Varying(effects, tuple((key[0], effects[key]) for key in rolled if key in effects))
    return found


def changes(variant: Variant) -> bool:
    """Whether a variant changes decisions."""
    given = (*(getattr(variant, name) for name in PARAMETERS), variant.candidates)
    return any(one is not None for one in given) or bool(variant.weights) or bool(variant.content)


def _effect(order: int, experiment: str, variant: Variant, place: Mapping[str, int]) -> Effect:
    said = {name: getattr(variant, name) for name in PARAMETERS}
    return Effect(
        order=order,
        said={name: value for name, value in said.items() if value is not None},
        competing=None if variant.candidates is None else (experiment, variant.id),
        weights={place[text]: weight for text, weight in variant.weights.items()},
        contents={place[text]: content for text, content in variant.content.items()},
    )


def vary(compiled: Compiled, name: str, variants: Mapping[str, str]) -> Variation:
    """The placement `name` under the variants in force; an experiment with a variant that it has not is passed over."""
    here = compiled.varying[name]
    chosen = [effect for pair in variants.items() if (effect := here.effects.get(pair)) is not None]
    if here.rolled_out and (compiled.document.holdout is None or variants.get(HOLDOUT) == OPEN):
        chosen += [effect for experiment, effect in here.rolled_out if experiment not in variants]  # else it is forced
    if not chosen:
        return Variation(placement=compiled.placements[name])
    said: dict[str, Any] = {}
    weights: dict[int, float] = {}
    contents: dict[int, dict[str, Any]] = {}
    competing = None
    for effect in sorted(chosen, key=lambda one: one.order):
        said |= effect.said
        weights |= effect.weights
        competing = effect.competing or competing
        for at, content in effect.contents.items():
            contents[at] = contents.get(at, {}) | content
    return Variation(
        placement=_placement(compiled, name, said),
        competing=competing,
        weights=weights,
        contents={at: compile_contents(overlay(compiled.candidates[at], own)) for at, own in contents.items()},
    )


def _placement(compiled: Compiled, name: str, said: dict[str, Any]) -> Placement:
    """The placement with other parameters; made once for each combination."""
    key = name, tuple(said.items())
    found = compiled.varied.get(key)
    if found is None:
        found = compiled.placements[name].model_copy(update=said) if said else compiled.placements[name]
        if len(compiled.varied) >= MOST_KEPT:
            compiled.varied.clear()
        compiled.varied[key] = found
    return found


def overlay(candidate: Candidate, own: dict[str, Any]) -> Candidate:
    """The candidate with a variant's content over its own, wherever and in whatever locale it is shown."""
    everywhere = tuple(one.model_copy(update={"content": {**one.content, **own}}) for one in candidate.content_for)
    return candidate.model_copy(update={"content": {**candidate.content, **own}, "content_for": everywhere})


def narrowing(experiments: Sequence[Experiment]) -> list[tuple[Experiment, Variant]]:
    """The variants that say who competes."""
    return [(one, variant) for one in experiments for variant in one.variants if variant.candidates is not None]
