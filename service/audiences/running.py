"""An audience from beginning to end: all customers in batches, chosen for, reserved, logged and written."""

from __future__ import annotations

import collections
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from features import stream
from features.events.schema import encode
from features.store import OnlineStore
from service import metrics
from service.audiences import customers, spending, telling
from service.audiences.files import AudienceError, format_of, open_sheet
from service.audiences.planning import plan
from service.audiences.schema import Audience, Line
from service.audiences.selecting import NO_CONSENT, select
from service.catalog.experiments import HOLDOUT
from service.decisions.request import new_id
from service.decisions.warming import warm_up
from service.live import Live

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from features.connection import Line as Wire
    from features.settings import Settings
    from service.audiences.customers import Batch
    from service.audiences.planning import Plan
    from service.audiences.selecting import Member
    from service.audiences.spending import Given

OVER_SECONDS = 60
"""A time so long ago is over."""


def parse_time(text: str | None, now: int) -> int:
    """Microseconds of a time in ISO 8601, in UTC if it does not say otherwise; now if there is none."""
    if text is None:
        return now
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)
    except (ValueError, OverflowError) as error:
        raise AudienceError(f"{text!r} is no time: one as 2026-11-24T09:00:00+01:00 is expected", "at") from error


def begin(
    placement: str,
    where: str | None,
    at: str | None,
    rehearse: bool,
    file_format: str,
    now: int,
    explain: bool = False,
) -> Audience:
    """What is asked, checked as far as it can be without a catalog. Raises AudienceError."""
    moment = parse_time(at, now)
    return Audience(
        id=new_id(now),
        placement=placement,
        where=where,
        at=datetime.fromtimestamp(moment / 1e6, UTC).isoformat(),
        rehearsal=rehearse or moment < now - OVER_SECONDS * 1_000_000,
        explain=explain,
        format=file_format,
    )


async def run(
    settings: Settings, redis_url: str, audience: Audience, path: Path, tell: Callable[[Audience], None]
) -> Audience:
    """Write the file. Raises AudienceError for what is wrong with what is asked, redis.RedisError when Redis is away.

    What is over is read from the history; now and later, from the online store.
    """
    format_of(path)
    now = time.time_ns() // 1000
    at = parse_time(audience.at, now)
    live, store = Live(settings, redis_url, warm_up), OnlineStore(settings.home, redis_url)
    try:
        await live.refresh()
        asked = audience.id, audience.placement, audience.where, at
        shared = plan(*asked, live.frame, live.models, audience.explain)
        audience.catalog_version = live.frame.compiled.version
        with open_sheet(path) as sheet:
            async for batch in _read(settings, store, redis_url, audience, at):
                sheet.add(await _serve(store.line, settings.partitions, shared, audience, batch))
                audience.done += len(batch)
                tell(audience)
    finally:
        await live.close()
        await store.close()
    audience.status = "done"
    return audience


async def _read(
    settings: Settings, store: OnlineStore, redis_url: str, audience: Audience, at: int
) -> AsyncIterator[Batch]:
    if at < time.time_ns() // 1000 - OVER_SECONDS * 1_000_000:
        audience.customers, batches = customers.read_history(settings.home, at)
        for batch in batches:
            yield batch
        return
    ids = customers.list_online(store, redis_url)
    audience.customers = len(ids)
    async for batch in customers.read_online(store, ids):
        yield batch


async def _serve(line: Wire, partitions: int, shared: Plan, audience: Audience, batch: Batch) -> list[Line]:
    selected = select(shared, batch)
    members = selected.members
    given = spending.decide(shared, selected, await spending.attend(line, shared, members))
    if not audience.rehearsal:
        now = time.time_ns() // 1000
        given = await spending.reserve(line, shared, members, given, now)
        await _log(line, partitions, shared, members, given, now)
    lines: list[Line] = []
    nothing = collections.Counter(audience.nothing)
    for reason, left_out in ((NO_CONSENT, selected.refusing), (HOLDOUT, selected.held)):
        lines += [Line(customer=customer, reason=reason) for customer in left_out]
        nothing[reason] += len(left_out)
    for member, (question, chosen) in zip(members, given, strict=True):
        told = telling.lines_of(member, question, chosen, audience.explain)
        lines += told
        if told[0].candidate is None:
            nothing[telling.word_of(chosen)] += 1
        else:
            audience.given += 1
    audience.nothing = {reason: count for reason, count in nothing.items() if count}
    audience.joined += selected.joined
    audience.outside += selected.outside
    audience.unknown += selected.unknown
    return sorted(lines, key=lambda each: (each.customer, each.rank or 0))


async def _log(
    line: Wire, partitions: int, shared: Plan, members: Sequence[Member], given: Sequence[Given], now: int
) -> None:
    """Append the decisions of those who get something and may be tracked."""
    parts: dict[int, list[stream.Message]] = {}
    for member, (question, chosen) in zip(members, given, strict=True):
        metrics.DECISIONS.labels(chosen.rung).inc()
        if chosen.slates[0].picks and member.allows_tracking:
            decision = telling.log_of(shared, member, question, chosen)
            place = stream.partition_of(member.customer, partitions)
            parts.setdefault(place, []).append(stream.Message(decision.message_id, encode(decision)))
    for place, messages in parts.items():
        await line.run(stream.APPEND, *stream.append_arguments(place, messages, now / 1e6, hours=1))


def save(audience: Audience, path: Path) -> None:
    """Its state, replaced at once, for whoever looks on."""
    temporary = path.with_suffix(".json.new")
    temporary.write_bytes(msgspec.json.encode(audience))
    temporary.replace(path)
