"""What another catalog would do: logged decisions chosen again under both, over the same states and models."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec

from service.decisions import frame, replaying
from service.decisions.warming import warm_up
from service.live import Live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from features.events.schema import Decision
    from features.settings import Settings
    from service.catalog.compiled import Compiled
    from service.decisions.choose import Slate


class Effect(msgspec.Struct, kw_only=True):
    """Of one placement."""

    placement: str
    decisions: int = 0
    changed: int = 0
    """Decisions whose first item is another."""
    customers: set[str] = msgspec.field(default_factory=set)
    """Who would see another first item."""
    before: float = 0.0
    """Expected value of all that is shown, per decision: propensity x value."""
    after: float = 0.0


def weigh(
    settings: Settings,
    redis_url: str,
    after: Compiled,
    decisions: list[Decision],
    progress: Callable[[Iterable[Decision]], Iterable[Decision]] = lambda decisions: decisions,
) -> list[Effect]:
    """Effects by placement, in the order of the live catalog.

    Customers are as they were logged; candidates' features and models are those of now.
    """

    async def look() -> tuple[Live, frame.Frame]:
        live = Live(settings, redis_url, warm_up)
        try:
            await live.refresh()
            return live, live.reframe(after)
        finally:
            await live.close()

    live, planned = asyncio.run(look())
    effects = {name: Effect(placement=name) for name in live.frame.compiled.placements}
    for logged in progress(decisions):
        old = replaying.choose_again(logged, live.frame, live.models)
        new = replaying.choose_again(logged, planned, live.models)
        again = {} if new is None else {slate.placement.id: slate for slate in new.slates}
        for slate in [] if old is None else old.slates:
            _count(
                effects[slate.placement.id], logged.customer, slate, again.get(slate.placement.id), live.frame, planned
            )
    return [_mean(effect) for effect in effects.values() if effect.decisions]


def _count(
    effect: Effect, customer: str, old: Slate, new: Slate | None, live: frame.Frame, planned: frame.Frame
) -> None:
    effect.decisions += 1
    effect.before += _value(old)
    effect.after += 0.0 if new is None else _value(new)
    if _first(old, live) != (None if new is None else _first(new, planned)):
        effect.changed += 1
        effect.customers.add(customer)


def _mean(effect: Effect) -> Effect:
    effect.before /= effect.decisions
    effect.after /= effect.decisions
    return effect


def _first(slate: Slate, at: frame.Frame) -> str | None:
    if slate.picks:
        return at.compiled.candidates[int(slate.pool.places[slate.picks[0].at])].id
    return slate.placement.default if slate.fell_back else None


def _value(slate: Slate) -> float:
    if slate.propensity is None:
        return 0.0
    shown = (float(slate.propensity[picked.at] * slate.value[picked.at]) for picked in slate.picks)
    return sum(worth for worth in shown if math.isfinite(worth))
