"""How a ramp goes: look, step up, take back, promote, pause. Each act is decided in the file of the ramp first,
and does nothing where it was done already, so that a ramp that was killed is gone on with by doing it again.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from models.bundle import CHAMPION
from models.ramped import Outcome, Ramped, Step, record_ramp
from service.catalog import versions
from service.ramps import guarding, publishing, registrar, state
from service.ramps.counting import Table, buckets_of, ranges_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.settings import Settings
    from service.ramps.guarding import Decided, Look
    from service.ramps.state import Ramp

SETTLING = 5.0
"""Seconds in which all services have taken up a catalog or an alias, before what they used until then goes away."""
BY_HAND = "taken back by hand"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A look at the ramp and what it led to."""

    ramp: Ramp
    found: Look | None
    """None: nothing was looked at, as the end was decided before."""
    decided: Decided
    is_over: bool = False


class Steering:
    """Drives one ramp. `clock` gives seconds since the epoch; `rest` waits."""

    def __init__(
        self,
        settings: Settings,
        ramp: Ramp,
        clock: Callable[[], float],
        rest: Callable[[float], None],
    ) -> None:
        self._settings, self._home = settings, settings.home
        self._clock, self._rest = clock, rest
        self.ramp = ramp
        self._table: Table | None = None

    def resume(self) -> None:
        """See that the catalog is as the ramp wants it: after a start, a pause, or the end of the process before."""
        if self.ramp.ending is not None:
            return
        if self.ramp.paused:
            rested = self.ramp.rested + max(self._now() - self.ramp.paused, 0)
            self._live(msgspec.structs.replace(self.ramp, paused=0, rested=rested))
        elif not self.ramp.began:
            self._live(self.ramp)

    def look(self) -> Seen:
        """Look once, and do what follows from it. Raises RampError for what may be better the next time."""
        if self.ramp.ending is not None:
            return self._finish()
        if broken := registrar.stands(self._home, self.ramp):
            return self.end("taken back", broken)
        live = publishing.find(versions.read(self._home)[0], self.ramp)
        if live is None or live.status != "running":
            return self.end("taken back", "somebody stopped its experiment")
        if live.variants[1].ranges != self.ramp.ranges:
            return self.end("taken back", "somebody changed its weights")
        if self._table is None:
            self._table = Table(self._home, self._settings.partitions, self.ramp)
        ramp = self.ramp
        found = guarding.look(self._table.grow(), self.ramp.plan, self.ramp.base)
        elapsed = (self._now() - self.ramp.began - self.ramp.rested) / 1e6
        decided = guarding.decide(found, self.ramp.plan, self.ramp.at, elapsed)
        if decided.act == "take back":
            return self.end("taken back", f"at {self.ramp.share:.0%}: {decided.why}", found)
        if decided.act == "advance":
            if self.ramp.share == 1.0:
                return self.end("promoted", "every step's guardrails held", found)
            self._step_up(found)
        return Seen(ramp=ramp, found=found, decided=decided)

    def end(self, outcome: Outcome, reason: str, found: Look | None = None) -> Seen:
        """Decide the end, and do it. Raises RampError where a part of that must be done again later."""
        done = self.ramp.done if found is None else [*self.ramp.done, self._tell(found)]
        self._keep(msgspec.structs.replace(self.ramp, ending=outcome, reason=reason, done=done))
        return self._finish(found)

    def pause(self) -> None:
        """Give all units the champion until the ramp is started again; those of each side stay the same."""
        if self.ramp.ending is None and not self.ramp.paused:
            self._keep(msgspec.structs.replace(self.ramp, paused=self._now()))
            publishing.set_share(self._home, self.ramp, "stopped", self._clock())

    def _finish(self, found: Look | None = None) -> Seen:
        """What a decided end takes. Traffic comes first: the champion serves before anything else is done."""
        ramp, home = self.ramp, self._home
        outcome = ramp.ending
        assert outcome is not None  # noqa: S101  # whoever calls has seen it
        if outcome == "taken back":
            publishing.remove(home, ramp, self._clock())
        ended = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        record_ramp(home.bundles, ramp.name, ramp.version, _verdict(ramp, outcome, ended))
        reason = f"ramp {ramp.experiment}: {ramp.reason}"
        if outcome == "promoted":
            registrar.point(home, ramp, CHAMPION, reason)
            self._rest(SETTLING)  # or who goes back to the champion would meet the old one for a moment
            publishing.remove(home, ramp, self._clock())
        else:
            self._rest(SETTLING)  # or a service without the new catalog would miss the model
            registrar.withdraw(home, ramp, reason)
        state.remove(home, ramp.name)
        act: guarding.Act = "advance" if outcome == "promoted" else "take back"
        return Seen(ramp=ramp, found=found, decided=guarding.Decided(act, ramp.reason), is_over=True)

    def _step_up(self, found: Look) -> None:
        ramp = msgspec.structs.replace(
            self.ramp,
            at=self.ramp.at + 1,
            began=0,
            rested=0,
            base=found.base,
            done=[*self.ramp.done, self._tell(found)],
        )
        self._live(self._keep(ramp))

    def _live(self, ramp: Ramp) -> None:
        """Publish the step, and keep which buckets it moved: those that had the champion in every step before."""
        experiment = publishing.set_share(self._home, ramp, "running", self._clock())
        champion, challenger = (variant.ranges or () for variant in experiment.variants)
        if not ramp.began:
            moved = set(buckets_of(challenger)) - set(buckets_of(ramp.ranges))
            ramp = msgspec.structs.replace(
                ramp, began=self._now(), ranges=challenger, control=champion, fresh=ranges_of(moved)
            )
        self._keep(ramp)
        self._table = None

    def _keep(self, ramp: Ramp) -> Ramp:
        self.ramp = state.write(self._home, ramp)
        return ramp

    def _tell(self, found: Look) -> Step:
        since, until = (
            datetime.fromtimestamp(it / 1e6, UTC).isoformat(timespec="seconds") for it in (self.ramp.began, self._now())
        )
        return Step(
            share=self.ramp.share,
            since=since,
            until=until,
            units=found.units,
            beside=found.beside,
            guards=found.guards,
        )

    def _now(self) -> int:
        return math.floor(self._clock() * 1e6)


def _verdict(ramp: Ramp, outcome: Outcome, ended: str) -> Ramped:
    return Ramped(
        experiment=ramp.experiment,
        outcome=outcome,
        reason=ramp.reason,
        beside=ramp.champion,
        ended=ended,
        steps=ramp.done,
    )
