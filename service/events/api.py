"""The Segment tracking API: POST /v1/track, /v1/batch and their sisters, with the short paths."""

import time
import uuid
from typing import Any

import msgspec
from litestar import Response, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from features import stream
from features.events.schema import encode
from service import metrics
from service.decisions.store import UnreachableError
from service.events.normalise import MOST_BYTES, RejectedError, normalise
from service.events.schema import BatchRequest, EventRequest, EventResult, EventsAnswer
from service.problems import PROBLEMS, respond

APPEND_SECONDS = 2.0
RESPONSES = {200: ResponseSpec(EventsAnswer, description="What became of each event.", generate_examples=False)} | {
    status: PROBLEMS[status] for status in (400, 413, 503)
}
KINDS = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}

_Taken = dict[int, list[tuple[int, stream.Message]]]
"""Partition -> (place in the request, message)."""


def _single(kind: str) -> Any:
    short = next(letter for letter, name in KINDS.items() if name == kind)

    async def handler(data: JSONBody[EventRequest], state: State) -> Response[Any]:
        message = {name: value for name, value in msgspec.to_builtins(data).items() if value is not None}
        taken, rejected = _read([message | {"type": kind}], state)
        if rejected:
            return respond("The event is not valid", 400, rejected[0].reason, rejected[0].field or None)
        return await _answer(taken, rejected, state)

    handler.__name__ = kind
    handler.__doc__ = f"Take in one `{kind}` event; acknowledged only when Redis has it."
    return post(
        [f"/v1/{kind}", f"/v1/{short}"],
        status_code=200,
        tags=["events"],
        summary=f"Take in a {kind} event",
        responses=RESPONSES,
    )(handler)


@post(["/v1/batch", "/v1/b"], status_code=200, tags=["events"], summary="Take in several events", responses=RESPONSES)
async def batch(data: JSONBody[BatchRequest], state: State) -> Response[Any]:
    """Take in events of any type. What is wrong with one is told in its result and keeps no other from being taken."""
    shared = {"sentAt": data.sent_at} if data.sent_at is not None else {}
    messages = []
    for message in data.batch:
        if isinstance(message, dict):
            context = message.get("context")
            merged = {**data.context, **context} if isinstance(context, dict) else context or data.context
            messages.append(shared | message | {"context": merged})
        else:
            messages.append(message)
    return await _answer(*_read(messages, state), state)


def _read(messages: list[Any], state: State) -> tuple[_Taken, dict[int, RejectedError]]:
    """What is to be appended, by partition, and what is rejected, by place."""
    received = time.time_ns() // 1000
    taken: _Taken = {}
    rejected = {}
    for at, message in enumerate(messages):
        try:
            if not isinstance(message, dict):
                raise RejectedError("", "an object is expected")
            event = normalise(message, received, str(uuid.uuid4()), state.live.frame.compiled)
            payload = encode(event)
            if len(payload) > MOST_BYTES:
                raise RejectedError("", f"the event has {len(payload)} bytes, at most {MOST_BYTES} are taken")
        except RejectedError as error:
            rejected[at] = error
            metrics.EVENTS.labels("rejected").inc()
        else:
            partition = stream.partition_of(event.customer, state.settings.partitions)
            taken.setdefault(partition, []).append((at, stream.Message(event.message_id, payload)))
    return taken, rejected


async def _answer(taken: _Taken, rejected: dict[int, RejectedError], state: State) -> Response[Any]:
    """Append what is taken, and tell what became of each event, in the order they came."""
    results = {at: EventResult(status="rejected", reason=str(error)) for at, error in rejected.items()}
    tokens = []
    try:
        for partition, events in taken.items():
            arrivals = await state.store.append(partition, [message for _, message in events], APPEND_SECONDS)
            for (at, _), arrival in zip(events, arrivals, strict=True):
                results[at] = EventResult(status="accepted" if arrival else "duplicate")
                metrics.EVENTS.labels(results[at].status).inc()
            if last := max(arrivals):
                tokens.append(stream.token(partition, last))
    except UnreachableError:
        metrics.EVENTS.labels("unavailable").inc(sum(map(len, taken.values())) + len(rejected) - len(results))
        return respond(
            "Events cannot be kept now",
            503,
            "Redis does not answer. Send the same events again: what has a messageId is never counted twice.",
            **{"Retry-After": "1"},
        )
    return Response(
        EventsAnswer(success=True, results=[results[at] for at in sorted(results)], token=",".join(tokens) or None)
    )


handlers = [*[_single(kind) for kind in KINDS.values()], batch]
