"""The Segment tracking API: POST /v1/track, /v1/batch and their sisters, with the short paths and older names."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from features import stream
from service import metrics
from service.decisions.store import UnreachableError
from service.direct import Short, Way
from service.events import keys, letters, origins
from service.events.normalise import RejectedError, admit
from service.events.schema import BatchRequest, EventRequest, EventResult, EventsAnswer
from service.problems import MEDIA_TYPE, PROBLEMS, respond

APPEND_SECONDS = 2.0
MOST_SHARED = 10_000_000
"""Bytes that the context of a batch may come to once it stands in each of its events."""
RESPONSES = {200: ResponseSpec(EventsAnswer, description="What became of each event.", generate_examples=False)} | {
    status: PROBLEMS[status] for status in (400, 401, 413, 415, 503)
}
KINDS = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}
BATCH_PATHS = ["/v1/batch", "/v1/b", "/v1/import"]
"""The last is where Segment's Ruby, Java and older mobile clients send."""
PATHS = [path for short, kind in KINDS.items() for path in (f"/v1/{kind}", f"/v1/{short}")] + BATCH_PATHS


class Taken(msgspec.Struct):
    """What is to become of the events of a request, by their place in it."""

    received: int
    messages: Sequence[Any]
    accepted: dict[int, list[tuple[int, stream.Message]]] = {}
    """By partition."""
    rejected: dict[int, RejectedError] = {}


def _single(kind: str) -> Any:
    short = next(letter for letter, name in KINDS.items() if name == kind)

    async def handler(data: JSONBody[EventRequest], request: Request[Any, Any, Any], state: State) -> Response[Any]:
        if not keys.is_known(state.settings.write_keys, request.headers.get("authorization", ""), data.write_key):
            return keys.refuse()
        taken = _take([await request.json() | {"type": kind}], state)
        if taken.rejected:
            await _keep_rejected(taken, state)
            error = taken.rejected[0]
            return respond("The event is not valid", 400, error.detail, error.field or None)
        return await _answer(taken, state)

    handler.__name__ = kind
    handler.__doc__ = f"Take in one `{kind}` event; acknowledged only when Redis has it."
    return post(
        [f"/v1/{kind}", f"/v1/{short}"],
        status_code=200,
        tags=["events"],
        summary=f"Take in a {kind} event",
        responses=RESPONSES,
        middleware=[origins.allow_all],
    )(handler)


@post(
    BATCH_PATHS,
    status_code=200,
    tags=["events"],
    summary="Take in several events",
    responses=RESPONSES,
    middleware=[origins.allow_all],
)
async def batch(data: JSONBody[BatchRequest], request: Request[Any, Any, Any], state: State) -> Response[Any]:
    """Take in events of any type. What is wrong with one is told in its result and keeps no other from being taken."""
    if not keys.is_known(state.settings.write_keys, request.headers.get("authorization", ""), data.write_key):
        return keys.refuse()
    if data.context and len(msgspec.json.encode(data.context)) * len(data.batch) > MOST_SHARED:
        return respond("The body is too large", 413, "the context is too long for so many events", "context")
    taken = _take([_share(data, message) for message in data.batch], state)
    return await _answer(taken, state)


def _share(data: BatchRequest, message: Any) -> Any:
    """A message of a batch with what the batch says for all."""
    if not isinstance(message, dict):
        return message
    shared: dict[str, Any] = {"sentAt": data.sent_at} if data.sent_at is not None else {}
    if data.context:
        own = message.get("context")
        merged = {**data.context, **own} if isinstance(own, dict) else own or data.context
        return shared | message | {"context": merged}
    return shared | message


def _take(messages: Sequence[Any], state: State) -> Taken:
    """What is to be appended, by partition, and what is rejected."""
    taken = Taken(time.time_ns() // 1000, messages)
    request_id = uuid.uuid4()
    for at, message in enumerate(messages):
        try:
            event, payload = admit(message, taken.received, f"{request_id}-{at}", state.live.frame.compiled)
        except RejectedError as error:
            taken.rejected[at] = error
        else:
            partition = stream.partition_of(event.customer, state.settings.partitions)
            message = stream.Message(event.message_id, payload, event.customer)
            taken.accepted.setdefault(partition, []).append((at, message))
    return taken


async def _keep_rejected(taken: Taken, state: State) -> None:
    written = [letters.write(taken.messages[at], taken.received, error) for at, error in taken.rejected.items()]
    if written:
        metrics.EVENTS.labels("rejected").inc(len(written))
        await state.letters.keep(written)


async def _answer(taken: Taken, state: State) -> Response[Any]:
    """Append what is taken, and tell what became of each event."""
    answer = await _append(taken, state)
    return _away() if answer is None else Response(answer)


def _away() -> Response[Any]:
    return respond(
        "Events cannot be kept now",
        503,
        "Redis does not answer. Send the same events again: what has a messageId is never counted twice.",
        **{"Retry-After": "1"},
    )


async def _append(taken: Taken, state: State) -> EventsAnswer | None:
    """What became of each event, in the order they came; None if Redis does not answer."""
    results = {at: EventResult(status="rejected", reason=str(error)) for at, error in taken.rejected.items()}
    tokens = []
    try:
        for partition, events in taken.accepted.items():
            arrivals = await state.store.append(partition, [message for _, message in events], APPEND_SECONDS)
            for (at, _), arrival in zip(events, arrivals, strict=True):
                results[at] = EventResult(status="accepted" if arrival else "duplicate")
                metrics.EVENTS.labels(results[at].status).inc()
            if last := max(arrivals):
                tokens.append(stream.token(partition, last))
    except UnreachableError:
        metrics.EVENTS.labels("unavailable").inc(len(taken.messages) - len(results))
        return None
    await _keep_rejected(taken, state)  # only now: after a 503 the sender sends these again too
    return EventsAnswer(success=True, results=[results[at] for at in sorted(results)], token=",".join(tokens) or None)


def _direct(kind: str) -> Way:
    async def take(state: State, headers: dict[bytes, bytes], body: bytes) -> Short | None:
        try:
            message = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        if not isinstance(message, dict) or not keys.is_known(
            state.settings.write_keys, authorization, message.get("writeKey")
        ):
            return None
        taken = _take([message | {"type": kind}], state)
        if taken.rejected:
            return None
        answer = await _append(taken, state)
        if answer is not None:
            return Short(msgspec.json.encode(answer), headers=(origins.ANY,))
        away = _away()  # sent from here: the usual way would try once more, under another id
        told = tuple((name.lower().encode(), value.encode()) for name, value in away.headers.items())
        return Short(away.content, away.status_code or 503, MEDIA_TYPE, (*told, origins.ANY))

    return take


ways: dict[str, Way] = {f"/v1/{name}": _direct(kind) for short, kind in KINDS.items() for name in (short, kind)}


# The preflight first: without one, a path gets an answer to OPTIONS that knows nothing of origins.
handlers = [origins.preflight(PATHS), *[_single(kind) for kind in KINDS.values()], batch]
