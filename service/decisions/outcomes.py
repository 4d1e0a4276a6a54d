"""What another catalog or model would have shown: logged decisions made again both ways, counted by placement."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from models.bundle import BundleError
from service.decisions.choose import choose
from service.decisions.evidence import MissingError
from service.decisions.replaying import ask_again, models_of
from service.decisions.verification import require_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from features.events.schema import Decision
    from models.bundle import Bundle
    from service.catalog.compiled import Compiled
    from service.decisions.choose import Slate
    from service.decisions.evidence import Evidence
    from service.decisions.frame import Frame
    from service.decisions.question import Question


class Outcome(msgspec.Struct, kw_only=True):
    """Of one placement, over some decisions."""

    placement: str
    decisions: int = 0
    changed: int = 0
    """Decisions whose first item is another."""
    customers: set[str] = msgspec.field(default_factory=set)
    """Who would see another first item."""
    before: float = 0.0
    """Expected value of all that is shown, over all decisions: propensity x value."""
    after: float = 0.0


class Weighing:
    """Counts outcomes by placement while decisions are made again both ways."""

    def __init__(self, evidence: Evidence, planned: Compiled | None, model: Bundle | None) -> None:
        """`planned` and `model` take the place of what each decision was made with."""
        self._evidence, self._planned, self._model = evidence, planned, model
        self.outcomes: dict[str, Outcome] = {}
        self.missing: dict[str, int] = {}
        """Why decisions could not be made again -> how many."""

    def weigh(self, decisions: Sequence[Decision]) -> Iterator[None]:
        """Add the decisions, one a step."""
        for logged, framed in self._evidence.frames(decisions):
            try:
                self._add(logged, framed)
            except (MissingError, BundleError) as error:
                self.missing[str(error)] = self.missing.get(str(error), 0) + 1
            yield

    def _add(self, logged: Decision, framed: Callable[[Compiled], Frame]) -> None:
        require_layout(logged)
        was = self._evidence.catalog(logged.catalog_version)
        models = models_of(logged, framed(was), self._evidence.model)
        before = ask_again(logged, framed(was), models)
        catalog = self._planned or was
        if self._model is not None:
            models = dict.fromkeys(_aliases(catalog), self._model)
        elif self._planned is not None:  # it may name aliases that the decision did not use
            models = self._evidence.aliases() | models
        _count(self.outcomes, logged.customer, before, ask_again(logged, framed(catalog), models))


def _aliases(compiled: Compiled) -> list[str]:
    variants = (variant.model for named in compiled.variants.values() for variant in named.values())
    named = (placement.model for placement in compiled.placements.values())
    return [alias for alias in (*named, *variants) if alias is not None]


def _count(outcomes: dict[str, Outcome], customer: str, before: Question, after: Question) -> None:
    new = {slate.placement.id: slate for slate in choose(after).slates} if after.placements else {}
    for old in choose(before).slates:
        outcome = outcomes.setdefault(old.placement.id, Outcome(placement=old.placement.id))
        other = new.get(old.placement.id)
        outcome.decisions += 1
        outcome.before += value(old)
        outcome.after += 0.0 if other is None else value(other)
        if winner(old, before) != (None if other is None else winner(other, after)):
            outcome.changed += 1
            outcome.customers.add(customer)


def winner(slate: Slate, question: Question) -> str | None:
    """The first that is shown; None if nothing is."""
    if slate.picks:
        return question.frame.compiled.candidates[int(slate.pool.places[slate.picks[0].at])].id
    return slate.placement.default if slate.fell_back else None


def value(slate: Slate) -> float:
    """The expected value of all that is shown, as the slate's own model expects it."""
    if slate.propensity is None:
        return 0.0
    shown = (float(slate.propensity[picked.at] * slate.value[picked.at]) for picked in slate.picks)
    return sum(worth for worth in shown if math.isfinite(worth))


def tabulate(outcomes: Iterable[Outcome]) -> Table:
    table = Table()
    table.add_column("placement", no_wrap=True)
    for heading in ("decisions", "other winner", "customers", "value before", "value after", "change"):
        table.add_column(heading, justify="right", no_wrap=" " not in heading)
    for outcome in outcomes:
        before, after = outcome.before / outcome.decisions, outcome.after / outcome.decisions
        table.add_row(
            outcome.placement,
            f"{outcome.decisions:,}",
            f"{outcome.changed:,} ({outcome.changed / outcome.decisions:.0%})",
            f"{len(outcome.customers):,}",
            f"{before:.4g}",
            f"{after:.4g}",
            f"{after / before - 1.0:+.1%}" if before else "-",
        )
    return table
