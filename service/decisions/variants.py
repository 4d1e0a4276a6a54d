"""Which variants hold in a decision: those that the request forces, and those of the customer's and visitor's own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.columns import close
from models.matrix import moment, zone_of
from service.decisions.expressions import TRAITS, given
from service.decisions.identity import seen_of
from service.decisions.scoring import open_customer
from service.experiments.assignment import Units, assign, concerning
from service.experiments.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any
    from zoneinfo import ZoneInfo

    from features.aggregates.columns import Columns
    from service.decisions.question import Question
    from service.decisions.scoring import Customer


class Variants(msgspec.Struct, frozen=True):
    variants: dict[str, str]
    unassigned: bool = False
    """Experiments that concern the page could not be told, as the customer could not be read."""
    chances: dict[str, float] = {}
    """Experiment -> the probability with which its variant was given, where weights move."""


def assign_variants(question: Question, customer: Customer | None) -> Variants:
    """Of the experiments that concern the page. Bots, and who could not be read, have only forced ones."""
    table = question.frame.compiled.experiments
    forced = question.flags
    if not (table.entries or table.held):
        return Variants(dict(forced))
    concerns = concerning([asked.id for asked in question.placements], question.sent)
    if question.bot or not question.is_readable:
        missed = any(entry.id not in forced and concerns(entry) for entry in table.entries) or table.held > 0
        return Variants(dict(forced), missed and not question.bot)
    zone = question.frame.compiled.zone
    features = remember(lambda: (customer or open_customer(question)).columns, question.now, question.context, zone)
    context = question.context | {TRAITS: given(question, TRAITS)} if question.traits else question.context
    subject = Subject(question.now, context, features)
    seen = (seen_of(question.state), question.visited) if question.personalised else (0, 0)
    units = Units(question.unit, question.anonymous, *seen)
    assigned = assign(table, units, question.now, concerns, forced, subject.holds)
    return Variants(assigned.variants, chances=assigned.chances)


def remember(
    open_row: Callable[[], Columns | None], now: int, context: dict[str, Any], zone: ZoneInfo
) -> Callable[[], Mapping[str, float]]:
    """The customer's own features, and those of the moment, closed once when they are asked for."""

    @cache
    def features() -> Mapping[str, float]:
        hour, weekday = moment(now / 1e6, zone_of(context, zone))
        columns = open_row()
        own = {} if columns is None else close(columns, np.array([now / 1e6]))
        known = {name: float(values[0]) for name, values in own.items()}
        known |= {"context__hour": float(hour), "context__weekday": float(weekday)}
        return {name: value for name, value in known.items() if not np.isnan(value)}

    return features
