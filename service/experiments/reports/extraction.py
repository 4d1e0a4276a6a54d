"""What a report needs of archived events, as narrow columns: decisions with the experiment, views, outcomes, joins.

Ids become 64-bit hashes: what is kept between reports names nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features.events.occurrences import identifier, look, number
from features.ids import fingerprint
from service.catalog.experiments import HOLDOUT, INTERLEAVED
from service.experiments.reports import crediting, noted
from service.experiments.reports.columns import CLICKS, DRAFTED, LINKS, MEETINGS, OUTCOMES, VIEWS, tabulate
from service.experiments.reports.noted import Noted, NotedSlots
from service.experiments.reports.trials import ORDERED, REFUNDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.experiments.reports.trials import Measure, Past, Trial

VIEWED, FLAGGED = "Promotion Viewed", "Experiment Viewed"
CLEAN, FORCED, BOT, UNASSIGNED = range(4)
"""How a unit met a variant: only clean meetings enrol."""
COLUMNS = ["arrival", "partition", "type", "event", "payload"]
PAGES = {"page": "Page Viewed", "screen": "Screen Viewed"}
UNKNOWN = -1
"""The arm of those who were given none."""
SEGMENT_LENGTH = 64


class Extract(msgspec.Struct, frozen=True):
    """Columns of a batch of events."""

    decisions: pa.Table
    views: pa.Table
    flagged: pa.Table
    """Meetings that need no view, as the page told of them itself."""
    outcomes: pa.Table
    links: pa.Table
    unconverted: int
    """Orders in another currency."""
    drafted: pa.Table
    """Of interleaved slates: items, and who brought each in."""
    clicks: pa.Table


def types(trial: Trial) -> list[str]:
    """The kinds of events that matter."""
    pages = [kind for kind, name in PAGES.items() if any(measure.event == name for measure in trial.measures)]
    return ["track", "decision", "joined", *pages]


def extract(table: pa.Table, trial: Trial, past: Past) -> Extract:
    """Of rows of the archive (COLUMNS)."""
    measures: dict[str, list[tuple[int, Measure, float]]] = {}
    for at, measure in enumerate(() if trial.is_interleaved else trial.measures):
        measures.setdefault(measure.event, []).append((at, measure, 1.0))
        if measure.is_money and measure.event == ORDERED:
            measures.setdefault(REFUNDED, []).append((at, measure, -1.0))
    rows = _Rows(trial, past, measures)
    decode = noted.DECODERS[trial.is_interleaved].decode
    wanted = pa.array([VIEWED, FLAGGED, *measures, *[crediting.CLICKED] * trial.is_interleaved], pa.string())
    is_wanted = pc.fill_null(pc.or_(pc.not_equal(table["type"], "track"), pc.is_in(table["event"], wanted)), False)
    for batch in table.filter(is_wanted).to_batches(max_chunksize=10_000):
        kinds, names, arrivals, payloads = (batch[name].to_pylist() for name in ("type", "event", "arrival", "payload"))
        for kind, name, arrival, payload in zip(kinds, names, arrivals, payloads, strict=True):
            rows.add(kind, name or PAGES.get(kind, ""), arrival, decode(payload))
    return rows.finish()


class _Rows:
    """Rows as they are found."""

    def __init__(self, trial: Trial, past: Past, measures: dict[str, list[tuple[int, Measure, float]]]) -> None:
        self._trial, self._past, self._measures = trial, past, measures
        self._arms = {name: at for at, name in enumerate(trial.arms)}
        self._met = {INTERLEAVED: 0} if trial.is_interleaved else self._arms
        self._decisions: list[tuple[Any, ...]] = []
        self._views: list[tuple[Any, ...]] = []
        self._flagged: list[tuple[Any, ...]] = []
        self._outcomes: list[tuple[Any, ...]] = []
        self._links: list[tuple[Any, ...]] = []
        self._drafted: list[tuple[Any, ...]] = []
        self._clicks: list[tuple[Any, ...]] = []
        self._unconverted = 0

    def add(self, kind: str, name: str, arrival: int, event: Noted) -> None:
        if kind == "decision":
            self._decisions += self._decide(event, arrival)
            if isinstance(event, NotedSlots):
                self._draft(event, arrival)
            return
        if kind == "joined":
            self._links.append((fingerprint(event.previous), fingerprint(event.customer)))
            return
        if name == VIEWED:
            self._views += self._view(event, arrival)
        elif name == FLAGGED:
            self._flagged += self._flag(event, arrival)
        elif name == crediting.CLICKED and self._trial.is_interleaved:
            self._click(event, arrival)
        for at, measure, sign in self._measures.get(name, ()):
            self._outcomes += self._measure(event, name, at, measure, sign)

    def finish(self) -> Extract:
        return Extract(
            tabulate(self._decisions, MEETINGS),
            tabulate(self._views, VIEWS),
            tabulate(self._flagged, MEETINGS),
            tabulate(self._outcomes, OUTCOMES),
            tabulate(self._links, LINKS),
            self._unconverted,
            tabulate(self._drafted, DRAFTED),
            tabulate(self._clicks, CLICKS),
        )

    def _decide(self, event: Noted, arrival: int) -> Iterator[tuple[Any, ...]]:
        arm = event.variants.get(self._trial.id)
        kind = _kind(event, self._trial.id)
        person = self._person(event)
        if event.audience and self._trial.id == HOLDOUT:
            return  # who is held gets nothing of an audience, and has nothing to look at
        if not person or (arm is None and kind not in (BOT, UNASSIGNED)):
            return
        chance = event.chances.get(self._trial.id)
        if chance is None:
            shares = self._past.shares(event.catalog_version)
            if kind == CLEAN and shares is None:
                return  # it did not run then, as after it was rolled out
            chance = (shares or {}).get(arm or "") or 1 / len(self._met)
        if kind == CLEAN and arm not in self._met:
            return  # the arm is no more
        unit = event.unit if self._trial.unit == "customer" and event.unit else person
        said = event.decision_id or event.message_id
        place = self._met.get(arm or "", UNKNOWN)
        meeting = (place, kind, chance, [_label(event.context, name) for name in self._trial.analysis.segments])
        yield (fingerprint(said), fingerprint(unit), fingerprint(person), *meeting, event.time, arrival)

    def _draft(self, event: NotedSlots, arrival: int) -> None:
        if event.variants.get(self._trial.id) == INTERLEAVED and _kind(event, self._trial.id) == CLEAN:
            decision = fingerprint(event.decision_id or event.message_id)
            for item, team in crediting.items_of(event.placements, self._trial.id):
                if team in self._arms:
                    self._drafted.append((decision, item, self._arms[team], arrival))

    def _click(self, event: Noted, arrival: int) -> None:
        found, person = crediting.clicked(event.properties), self._person(event)
        if found is not None and person:
            self._clicks.append((*found, fingerprint(person), event.time, arrival))

    def _view(self, event: Noted, arrival: int) -> Iterator[tuple[Any, ...]]:
        decision, placement = (identifier(event.properties.get(name)) for name in ("decision_id", "placement"))
        if decision and (self._trial.placements is None or placement in self._trial.placements):
            yield fingerprint(decision), event.time, arrival

    def _flag(self, event: Noted, arrival: int) -> Iterator[tuple[Any, ...]]:
        experiment, arm = (identifier(event.properties.get(name)) for name in ("experiment_id", "variation_id"))
        person = self._person(event)
        if experiment != self._trial.id or arm not in self._arms or not person or self._trial.is_interleaved:
            return
        shares = self._past.shares_at(event.time)
        if shares is None:
            return  # it did not run then
        kind, chance = CLEAN, shares.get(arm, 0.0)
        if self._trial.allocation == "thompson":
            chance = number(event.properties.get("chance"))
        if not self._trial.may_have_been(self._arms[arm], chance):
            kind = UNASSIGNED
        segments = [_label(event.context, name) for name in self._trial.analysis.segments]
        unit = fingerprint(person)
        yield 0, unit, unit, self._arms[arm], kind, chance, segments, event.time, arrival

    def _measure(self, event: Noted, name: str, at: int, measure: Measure, sign: float) -> Iterator[tuple[Any, ...]]:
        properties, person = event.properties, self._person(event)
        if not person or any(properties.get(key) != value for key, value in measure.where.items()):
            return
        if measure.placements is not None and properties.get("placement") not in measure.placements:
            return
        amount = 1.0
        if measure.property is not None:
            amount = number(properties.get(measure.property))
        elif measure.is_money:
            if properties.get("currency", self._trial.currency) != self._trial.currency:
                self._unconverted += 1
                return
            amount = look(name, event.time, properties).revenue
        yield fingerprint(person), at, event.time, sign * amount

    def _person(self, event: Noted) -> str:
        return event.customer if self._trial.unit == "customer" else event.anonymous_id or ""


def _kind(event: Noted, experiment: str) -> int:
    if event.bot:
        return BOT
    if event.unassigned:
        return UNASSIGNED
    return FORCED if experiment in event.forced else CLEAN


def _label(context: dict[str, Any], name: str) -> str:
    return identifier(context.get(name))[:SEGMENT_LENGTH]
