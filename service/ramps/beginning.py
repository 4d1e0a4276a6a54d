"""How a ramp begins: what has to be there, and what may not be in the way. Nothing is published here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.bundle import CHAMPION, read_aliases
from models.ramped import read_ramps
from service.catalog import versions
from service.ramps import publishing, registrar, state
from service.ramps.publishing import CHALLENGER
from service.ramps.state import Ramp, RampError

if TYPE_CHECKING:
    from features.settings import Settings
    from service.ramps.state import Plan


def begin(settings: Settings, name: str, wanted: str, plan: Plan, *, force: bool = False) -> Ramp:
    """The ramp that is under way, or a new one that nothing is in the way of; nothing is published yet.

    Raises RampError, BundleError, or DocumentError.
    """
    home = settings.home
    known = state.read(home, name)
    if known is not None:
        if wanted not in (CHALLENGER, known.version):
            raise RampError(
                f"a ramp of version {known.version} of {name!r} is under way, at {known.share:.0%}: take it back first "
                f"(kairos models ramp {known.version} --back)"
            )
        return known
    described = registrar.resolve(home, name, wanted)
    champion = read_aliases(home.bundles, name).get(CHAMPION)
    if champion is None:
        raise RampError(
            f"{name!r} has no champion to go beside: kairos models promote {described.version} makes it one"
        )
    if champion == described.version:
        raise RampError(f"version {champion} of {name!r} is the champion already")
    if not force:
        _require_gates(name, described.version, described.gates)
    number = len(read_ramps(home.bundles, name, described.version)) + 1
    ramp = Ramp(
        name=name,
        version=described.version,
        champion=champion,
        experiment=f"ramp-{name}-{described.version}-{number}",
        placements=publishing.choose_placements(versions.read(home)[0], name),
        plan=plan,
        forced=force,
    )
    registrar.point(home, ramp, CHALLENGER, f"ramp {ramp.experiment}")
    return state.write(home, ramp)


def _require_gates(name: str, version: str, gates: dict[str, dict[str, object]]) -> None:
    failing = [f"{gate} ({verdict.get('figure')})" for gate, verdict in gates.items() if verdict.get("holds") is False]
    if failing or not gates:
        why = f"did not pass: {'; '.join(failing)}" if failing else "was not judged by any gate"
        raise RampError(f"version {version} of {name!r} {why}; --force ramps it all the same")


def require_plan(plan: Plan) -> None:
    """Raises RampError for steps that do not go from something to all."""
    steps = plan.steps
    if len(steps) < 2 or list(steps) != sorted(set(steps)) or steps[0] <= 0.0 or steps[-1] != 1.0:
        told = ", ".join(f"{step:.4g}" for step in steps)
        raise RampError(f"steps ascend from above 0 to 1, as 0.01 0.05 0.25 0.5 1; these are {told}")
