"""From states to features, and to what is scored without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.columns import Columns, decode_blank, decode_rows, slot_of
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack
from features.ids import digest
from features.lifetimes import is_expired
from models.matrix import States, Subjects, compute, device_of, moment, zone_of
from models.referrers import referrer_of
from service import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from features.store import Packed
    from service.decisions.pools import Pool
    from service.decisions.question import Question

    Floats = NDArray[np.float64]

LAST_VIEWED = slot_of(LAYOUTS["customer"], "customer__product_viewed_candidate__last")
PRIOR_RATE = "candidate__promotion__rate_30d"
PRIOR_ORDERS = "candidate__order_completed__share_7d"
PRIOR_VIEWS = "candidate__product_viewed__share_7d"


class Customer(msgspec.Struct, frozen=True):
    """The customer's side of the features."""

    columns: Columns
    successors: Columns
    """What others viewed after what this customer viewed last."""


def open_customer(question: Question) -> Customer:
    """The customer's states with the inline events applied. What is older than its view's TTL counts as missing."""
    layout = LAYOUTS["customer"]
    state = current_state(question)
    if state is None and question.state is not None:
        metrics.EXPIRED.labels("customer").inc()
    if question.occurrences:
        # Applied to a copy: the worker applies the same events once more when they come through the stream.
        row = blank(layout, "") if state is None else state.unpack(layout, "")
        for occurrence in question.occurrences:
            advance_customer(row, occurrence)
        columns = decode_rows(layout, [pack(row)])
    elif state is None:
        columns = decode_blank(layout)
    else:
        columns = decode_rows(layout, [(state.numbers, state.ids)])
    return Customer(columns, _successors(question, int(columns.head[0, LAST_VIEWED])))


def current_state(question: Question) -> Packed | None:
    """The customer's row as it counts now: None if there is none, or none within the view's TTL."""
    state = question.state
    return None if state is None or is_expired("customer", state.applied, question.now) else state


def _successors(question: Question, last: int) -> Columns:
    """What followed the candidate, as of the snapshot: all rows of a snapshot have one age."""
    row, head = question.frame.successors.get(last), question.frame.head
    if row is None or head is None or not is_expired("successors", row.applied, head.time):
        return question.frame.successors_of(last)
    metrics.EXPIRED.labels("successors").inc()
    return decode_blank(LAYOUTS["successors"])


def features_of(question: Question, customer: Customer, pool: Pool) -> dict[str, Floats]:
    """Every feature of the candidates in `pool` for this customer, here and now."""
    frame, compiled = question.frame, question.frame.compiled
    now = question.now / 1e6
    hour, weekday = moment(now, zone_of(question.context, compiled.zone))
    states = States(
        customers=customer.columns,
        candidates={name: values[pool.places] for name, values in frame.candidates_at(now).items()},
        successors=customer.successors,
    )
    subjects = Subjects(
        now=np.array([now]),
        owner=np.zeros(len(pool.places), np.int64),
        candidate=pool.ids,
        category=pool.categories,
        kind=pool.kinds,
        price=pool.price,
        value=pool.value,
        hour=np.array([hour]),
        weekday=np.array([weekday]),
        device=np.array([digest(device_of(question.context))]),
        referrer=np.array([digest(referrer_of(question.context))]),
        placement=np.array([digest(pool.placement.id)]),
    )
    return compute(states, subjects)


def prior_of(question: Question, pool: Pool) -> Floats:
    """Smoothed popularity of those in `pool`: the click rate, its odds raised by the shares of orders and views."""
    closed = question.frame.candidates_at(question.now / 1e6)
    rate, orders, views = (closed[name][pool.places] for name in (PRIOR_RATE, PRIOR_ORDERS, PRIOR_VIEWS))
    raised = rate * (1.0 + orders + views)
    prior: Floats = raised / (raised + 1.0 - rate)
    return prior
