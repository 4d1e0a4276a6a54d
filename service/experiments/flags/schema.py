"""HTTP shapes of flags, and nothing else. Those of OFREP are as its specification 0.3 has them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from service.experiments.flags.evaluation import Evaluated  # noqa: TC001  # the shapes are built when the program runs

Code = Literal["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "FLAG_NOT_FOUND", "GENERAL"]


class EvaluationRequest(msgspec.Struct, frozen=True):
    context: dict[str, Any]
    """`targetingKey` is required: the customer, or the anonymous visitor. `anonymousId` may name the visitor beside a
    customer; `traits`, `segments` and anything else are what rules read."""


class EvaluationFailure(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    key: str = ""
    error_code: Code
    error_details: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    request_uri: str


class EventStream(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where changes are told."""

    type: Literal["sse"] = "sse"
    endpoint: Endpoint
    inactivity_delay_sec: int = 120


class BulkEvaluation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    flags: list[Evaluated]
    metadata: dict[str, str]
    event_streams: list[EventStream]


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit gets of a running experiment."""

    id: str
    variant: str | None
    """Null: it is not in the experiment."""
    bucket: int | None = None
    """0 to 9999: of the experiment, where the unit falls."""


class FlagsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit would get; nobody is enrolled by asking."""

    unit: str
    """The id that experiments on customers go by: under which the customer was seen first; empty if it is not known."""
    experiments: list[Given]
    flags: list[Evaluated]
    catalog_version: str
