"""What the demo's tables and lines look like; everything in them is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from training.simulation.figures import best_rate, click_rate, quantiles

if TYPE_CHECKING:
    from training.simulation.client import Decision
    from training.simulation.figures import Ledger, Rate
    from training.simulation.world import World

HERO = "home-hero"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo found, on the placement with one item."""

    uniform: Rate
    trained: Rate
    oracle: float
    """Of a pick that knows every probability, at the moments at which `trained` picked."""
    model: str
    freshness: tuple[float, float]
    latency: tuple[float, float]
    decisions: int
    events: int
    seconds: float

    @property
    def share(self) -> float:
        """How far from the uniform pick to the oracle."""
        return (self.trained.value - self.uniform.value) / (self.oracle - self.uniform.value)

    @property
    def holds(self) -> bool:
        """Whether trained beats uniform with intervals apart."""
        return self.trained.interval[0] > self.uniform.interval[1]


def conclude(explored: Ledger, compared: Ledger, arms: tuple[str, str], model: str, seconds: float) -> Result:
    """`arms` = (uniform, trained)."""
    uniform, trained = (compared.of(arm, HERO) for arm in arms)
    return Result(
        uniform=click_rate(uniform),
        trained=click_rate(trained),
        oracle=best_rate(trained),
        model=model,
        freshness=quantiles(compared.fresh_seconds),
        latency=quantiles(compared.decision_seconds),
        decisions=explored.rungs.total() + compared.rungs.total(),
        events=explored.events + compared.events,
        seconds=seconds,
    )


def tabulate(result: Result) -> Table:
    """The final table."""
    table = Table(box=box.SIMPLE_HEAVY, title="What the demo measured (in a simulated world)", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", style="dim")
    for name, rate in (("uniform", result.uniform), ("trained", result.trained)):
        low, high = rate.interval
        note = f"95 % interval {low:.1%} to {high:.1%}; {rate.hits:,} clicks of {rate.of:,} shown"
        table.add_row(f"click rate, {name}", Text(f"{rate.value:.1%}", style="bold"), note)
    table.add_row("click rate, oracle", f"{result.oracle:.1%}", "the best pick at the moments of trained")
    style = "bold green" if result.holds else "bold red"
    table.add_row("way from uniform to oracle", Text(f"{result.share:.0%}", style=style), f"on {HERO}")
    table.add_row("model", result.model, "trained on the explored part, champion in the registry")
    table.add_row("event to decision", _pair(result.freshness), "p50 / p99, from acknowledged until an answer knows it")
    table.add_row("decision latency", _pair(result.latency), "p50 / p99, seen by a client while the crowd plays")
    table.add_row("decisions, events", f"{result.decisions:,}, {result.events:,}", "over HTTP, one by one")
    table.add_row("time", f"{result.seconds:.0f} s", "")
    return table


def compare(world: World, before: Decision, after: Decision, reasons: int = 2) -> Table:
    """One visitor's page before and after, with what raised each item of the second most."""
    table = Table(box=box.SIMPLE_HEAVY)
    for heading in ("", "before", "after", "why (SHAP, in log-odds)"):
        table.add_column(heading)
    for old, new in zip(before.placements, after.placements, strict=True):
        explained = {} if new.explanation is None else {item.id: item.contributions for item in new.explanation.items}
        for rank, (left, right) in enumerate(zip(old.items, new.items, strict=True), start=1):
            strongest = [each for each in explained.get(right.id, []) if each.contribution > 0][:reasons]
            why = "\n".join(f"{each.contribution:+.2f}  {each.words}" for each in strongest)
            table.add_row(
                f"{new.id} {rank}", _name(world, left.id), Text(_name(world, right.id), style="bold"), Text(why)
            )
    return table


def _name(world: World, offer: str) -> str:
    found = world.offers[world.index[offer]]
    return f"{found.title} ({world.categories[found.category]})"


def _pair(milliseconds: tuple[float, float]) -> str:
    return " / ".join(f"{value:.1f}" for value in milliseconds) + " ms"
