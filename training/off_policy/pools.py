"""Who might have been picked at the top of a logged slot, from what the decision and its catalog say.

Slots of which that cannot be told exactly are left out, each with its reason: a guess would bias every estimate.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from features import archive
from features.events.schema import CatalogPublished, decode
from training.rewards import payloads

if TYPE_CHECKING:
    from features.events.schema import Decision, Slot
    from features.home import Home

EXPLORATION, SHORTLIST, VALUE, WEIGHT = 0.05, 1000, 1.0, 1.0
"""What the catalog's document leaves out because it is the default."""
TOLERANCE = 1e-9
VARYING = ("candidates", "weights", "strategy", "value_from")
"""What a variant says that makes it another pool, or another order of it."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A slot's candidates that might have stood first, in the catalog's order."""

    candidates: list[str]
    worth: list[float]
    """Value x weight of each, or 1 where the placement ranks by propensity alone."""
    uniform: float
    """The chance that the target draws its pick uniformly, as the placement says."""
    logged_uniform: float
    """The same of the policy that logged."""
    is_drawn: bool
    """Whether the logging policy may have ranked by draws (Thompson sampling)."""


class Catalogs(msgspec.Struct, frozen=True):
    """Documents by version: each with its placements, its candidates and its experiments by id."""

    placements: dict[str, dict[str, dict[str, Any]]]
    candidates: dict[str, dict[str, dict[str, Any]]]
    experiments: dict[str, dict[str, dict[str, Any]]]


def read_catalogs(home: Home) -> Catalogs:
    """Every catalog that was published with its document."""
    catalogs = Catalogs({}, {}, {})
    for payload in payloads(archive.read(home.archive, ["payload"], types=["catalog"])):
        event = decode(payload)
        if isinstance(event, CatalogPublished) and event.document:
            document = msgspec.json.decode(zlib.decompress(event.document))
            catalogs.placements[event.version] = {it["id"]: it for it in document["placements"]}
            catalogs.candidates[event.version] = {it["id"]: it for it in document["candidates"]}
            catalogs.experiments[event.version] = {it["id"]: it for it in document.get("experiments", ())}
    return catalogs


def reconstruct(catalogs: Catalogs, decision: Decision, slot: Slot, earlier: set[str]) -> Pool | str:
    """The slot's pool, or why there is none. `earlier` are the candidates of the placements before."""
    placement = catalogs.placements.get(decision.catalog_version, {}).get(slot.id)
    if placement is None:
        return "its catalog is not in the archive"
    if (reason := _refuse(decision, slot, placement)) is not None:
        return reason
    if _is_varied(catalogs.experiments[decision.catalog_version], decision, slot):
        return "a variant changed who competes"
    known = catalogs.candidates[decision.catalog_version]
    competing = _compete(known, placement, slot)
    if len(competing) > placement.get("shortlist", SHORTLIST):
        return "which candidates were shortlisted is not logged"
    gone = {text for texts in slot.rejected.values() for text in texts} | earlier
    legal = [text for text in competing if text not in gone]
    worth = _weigh([known[text] for text in legal], placement.get("strategy", "value"))
    if worth is None:
        return "values of candidates are rules"
    first = slot.items[0]
    if first.id not in legal:
        return "what was served was not in the pool"
    floor = placement.get("floor", 0.0) * len(legal)
    pool = Pool(
        candidates=legal,
        worth=worth,
        uniform=min(max(placement.get("exploration", EXPLORATION), floor), 1.0),
        logged_uniform=min(max(slot.exploration, floor), 1.0),
        is_drawn=bool(placement.get("thompson", 0)),
    )
    return pool if _fits(pool, first.selection_probability or 0.0) else "its chances do not fit its pool"


def _refuse(decision: Decision, slot: Slot, placement: dict[str, Any]) -> str | None:
    if not slot.items or slot.items[0].selection_probability is None:
        return "nothing was picked, or was forced"
    if not decision.readable or decision.snapshot == 0:
        return "the customer or the snapshot could not be read"
    if decision.supplied:
        return "its candidates came with the request"
    if placement.get("pinned") or placement.get("apprentice") or placement.get("strategy") == "fixed":
        return "no model chooses there (pinned, apprentice or fixed)"
    if placement.get("value_from") == "model":
        return "values are the model's"
    if decision.attention is not None and (decision.attention.contended or not decision.attention.is_known):
        return "the ledger of caps could not be read"
    return None


def _is_varied(experiments: dict[str, dict[str, Any]], decision: Decision, slot: Slot) -> bool:
    """Whether a variant in force gave the slot other candidates, weights or another strategy."""
    for name, variant in decision.variants.items():
        experiment = experiments.get(name, {})
        placements = experiment.get("placements")
        if placements is not None and slot.id not in placements:
            continue
        for arm in experiment.get("variants", ()):
            if arm["id"] == variant and any(arm.get(key) for key in VARYING):
                return True
    return False


def _compete(known: dict[str, dict[str, Any]], placement: dict[str, Any], slot: Slot) -> list[str]:
    """In the order in which equal priorities are broken: the catalog's, else that of the request or placement."""
    named = placement.get("candidates") if slot.candidates is None else slot.candidates
    excluded = set(placement.get("excluded", ()))
    texts = list(known) if named is None else [text for text in dict.fromkeys(named) if text in known]
    return [
        text
        for text in texts
        if text not in excluded and (not known[text].get("placements") or slot.id in known[text]["placements"])
    ]


def _weigh(candidates: list[dict[str, Any]], strategy: str) -> list[float] | None:
    if strategy == "propensity":
        return [1.0] * len(candidates)
    values = [candidate.get("value", VALUE) for candidate in candidates]
    if any(isinstance(value, str) for value in values):
        return None
    return [float(value) * candidate.get("weight", WEIGHT) for value, candidate in zip(values, candidates, strict=True)]


def _fits(pool: Pool, logged: float) -> bool:
    """Whether the logged chance is one that a pick from so many can have."""
    if pool.is_drawn:
        return logged > 0.0
    drawn = pool.logged_uniform / len(pool.candidates)
    return any(abs(logged - chance) < TOLERANCE for chance in (drawn, drawn + 1.0 - pool.logged_uniform) if chance)
