"""The Segment tracking API: POST /v1/track, /v1/batch and their sisters, with the short paths."""

import time
import uuid
from typing import Any

import msgspec
from litestar import Response, post
from litestar.datastructures import State
from litestar.params import JSONBody

from features import stream
from features.events.schema import encode
from service import metrics
from service.decisions.store import UnreachableError
from service.events.normalise import MOST_BYTES, RejectedError, normalise
from service.events.schema import BatchRequest, EventRequest, EventResult, EventsAnswer
from service.problems import PROBLEMS, respond

APPEND_SECONDS = 2.0
KINDS = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}


def _single(kind: str) -> Any:
    short = next(letter for letter, name in KINDS.items() if name == kind)

    async def handler(data: JSONBody[EventRequest], state: State) -> Response[EventsAnswer]:
        message = _message(data) | {"type": kind}
        return await _take(state, [message])

    handler.__name__ = kind
    handler.__doc__ = f"Take in one `{kind}` event; acknowledged only when Redis has it."
    return post(
        [f"/v1/{kind}", f"/v1/{short}"],
        status_code=200,
        tags=["events"],
        summary=f"Take in a {kind} event",
        responses=PROBLEMS,
    )(handler)


@post(["/v1/batch", "/v1/b"], status_code=200, tags=["events"], summary="Take in several events", responses=PROBLEMS)
async def batch(data: JSONBody[BatchRequest], state: State) -> Response[EventsAnswer]:
    """Take in events of any type. What is wrong with one is told in its result and keeps no other from being taken."""
    shared = {"sentAt": data.sent_at} if data.sent_at is not None else {}
    messages = []
    for message in data.batch:
        context = message.get("context")
        merged = {**data.context, **context} if isinstance(context, dict) else context or data.context
        messages.append(shared | message | {"context": merged})
    return await _take(state, messages)


def _message(data: EventRequest) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(data).items() if value is not None}


async def _take(state: State, messages: list[dict[str, Any]]) -> Response[EventsAnswer]:
    received = time.time_ns() // 1000
    results: list[EventResult | None] = [None] * len(messages)
    by_partition: dict[int, list[tuple[int, stream.Message]]] = {}
    for at, message in enumerate(messages):
        try:
            event = normalise(message, received, str(uuid.uuid4()), state.live.frame.compiled)
            payload = encode(event)
            if len(payload) > MOST_BYTES:
                raise RejectedError(f"the event has {len(payload)} bytes, at most {MOST_BYTES} are taken")
        except RejectedError as error:
            results[at] = EventResult(status="rejected", reason=str(error))
            continue
        partition = stream.partition_of(event.customer, state.settings.partitions)
        by_partition.setdefault(partition, []).append((at, stream.Message(event.message_id, payload)))
    tokens = []
    try:
        for partition, taken in by_partition.items():
            arrivals = await state.store.append(partition, [message for _, message in taken], APPEND_SECONDS)
            for (at, _), arrival in zip(taken, arrivals, strict=True):
                results[at] = EventResult(status="accepted" if arrival else "duplicate")
            if last := max(arrivals):
                tokens.append(stream.token(partition, last))
    except UnreachableError:
        metrics.EVENTS.labels("unavailable").inc(len(messages))
        return respond(
            "Events cannot be kept now",
            503,
            "Redis does not answer; send the same events again, those already taken are not counted twice",
            **{"Retry-After": "1"},
        )
    done = [result for result in results if result is not None]
    for result in done:
        metrics.EVENTS.labels(result.status).inc()
    failed = len(messages) == 1 and done[0].status == "rejected"
    if failed:
        reason = done[0].reason or ""
        return respond("The event is not valid", 400, reason, reason.partition(":")[0] or None)
    answer = EventsAnswer(success=True, results=done, token=",".join(tokens) or None)
    return Response(answer)


handlers = [*[_single(kind) for kind in KINDS.values()], batch]
