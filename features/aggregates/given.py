"""Features without a state: what the catalog says of a candidate, and a request of its moment. Declared here, beside
the aggregates; `models.matrix` fills them.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Given(msgspec.Struct, frozen=True):
    name: str
    kind: Literal["number", "category"]
    meaning: str


ATTRIBUTES = (
    Given("candidate__price", "number", "its price in the catalog"),
    Given("candidate__value", "number", "its expected margin per reward"),
    Given("candidate__category", "category", "its category"),
    Given("candidate__kind", "category", "offer, content or action"),
)
REQUESTED = (
    Given("context__hour", "number", "hour of the day, in context.timezone or the catalog's"),
    Given("context__weekday", "number", "Monday 0 to Sunday 6, in the same time zone"),
    Given("context__device", "category", "context.device or context.device.type"),
    Given("context__placement", "category", "the place on the page"),
    Given("context__referrer", "category", "direct, email, internal, other, paid, search or social"),
)
