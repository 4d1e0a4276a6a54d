"""The ramp's experiment in the catalog: an ordinary one, of the variants `champion` and `challenger`.

Refuses to begin where another experiment says which model decides, or where no placement is the champion's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from models.bundle import CHAMPION, DEFAULT_NAME
from service.catalog import sources, versions
from service.ramps import document
from service.ramps.state import RampError

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.home import Home
    from service.catalog.experiments import Experiment
    from service.catalog.schema import Catalog
    from service.ramps.state import Ramp

AUTHOR = "kairos models ramp"
CHALLENGER = "challenger"
ATTEMPTS = 10
"""Publishing again when somebody else has published in between."""
SPARE = timedelta(days=1)
Status = Literal["running", "stopped"]


def alias_of(name: str, alias: str) -> str:
    """As a placement or a variant names it."""
    return alias if name == DEFAULT_NAME else f"{name}@{alias}"


def choose_placements(catalog: Catalog, name: str) -> tuple[str, ...]:
    """The placements in which the champion decides. Raises RampError without one, or for an experiment in the way."""
    own = {alias_of(name, CHAMPION), f"{name}@{CHAMPION}"}
    found = tuple(
        one.id
        for one in catalog.placements
        if one.model in own and one.strategy != "fixed" and not one.apprentice
    )  # fmt: skip
    if not found:
        raise RampError(f"no placement of the catalog lets the champion of {name!r} decide")
    for one in catalog.experiments:
        if one.status in ("running", "rolled_out") and _is_in_the_way(one, found):
            what = "ramp" if one.id.startswith("ramp-") else "experiment"
            raise RampError(
                f"the {what} {one.id!r} is {one.status} and says which model decides in the same placements, so that "
                "neither would be known: stop it first, and take it out if it was rolled out"
            )
    return found


def _is_in_the_way(one: Experiment, placements: tuple[str, ...]) -> bool:
    concerned = one.placements is None or not set(one.placements).isdisjoint(placements)
    return concerned and any(variant.model is not None for variant in one.variants)


def find(catalog: Catalog, ramp: Ramp) -> Experiment | None:
    """The ramp's experiment."""
    return next((one for one in catalog.experiments if one.id == ramp.experiment), None)


def set_share(home: Home, ramp: Ramp, status: Status, now: float) -> Experiment:
    """Put the experiment live with the share of the ramp's step, or stop it; as it is then, with its buckets.

    A stopped one keeps its buckets. Raises DocumentError if the catalog cannot be published.
    """
    ends = datetime.fromtimestamp(now, UTC) + timedelta(seconds=ramp.plan.patience) + SPARE
    entry = _enter(ramp, status, ends)
    share = ramp.share if status == "running" else 0.0
    _publish(home, lambda text: document.put(text, entry), f"{ramp.name} {ramp.version}: {share:.0%}")
    found = find(versions.read(home)[0], ramp)
    if found is None:
        raise RampError(f"somebody has taken the experiment {ramp.experiment!r} out of the catalog")
    return found


def remove(home: Home, ramp: Ramp, now: float) -> None:
    """Take the experiment out of the catalog, after it was stopped: one that runs may not vanish."""
    found = find(versions.read(home)[0], ramp)
    if found is None:
        return
    if found.status == "running":
        set_share(home, ramp, "stopped", now)
    _publish(home, lambda text: document.take_out(text, ramp.experiment), f"{ramp.name} {ramp.version}: the ramp ended")


def _enter(ramp: Ramp, status: Status, ends: datetime) -> dict[str, Any]:
    """Whom nobody watches any more ends by itself."""
    share = ramp.share
    return {
        "id": ramp.experiment,
        "status": status,
        "placements": list(ramp.placements),
        "ends": ends.isoformat(timespec="seconds"),
        "variants": [
            {"id": CHAMPION, "weight": round(1.0 - share, 6), "model": alias_of(ramp.name, CHAMPION)},
            {"id": CHALLENGER, "weight": share, "model": alias_of(ramp.name, CHALLENGER)},
        ],
    }


def _publish(home: Home, change: Callable[[str], str], comment: str) -> None:
    for _ in range(ATTEMPTS):
        _, version = versions.read(home)
        text = sources.read_text(home.catalog)
        changed = change(text)
        if changed == text:
            return
        try:
            versions.publish(home, changed, AUTHOR, comment, version)
        except versions.ConflictError:
            continue
        return
    raise RampError("others publish catalogs all the time: the ramp found no moment between them")
