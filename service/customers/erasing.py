"""Forgetting a person everywhere: online through their worker, then in the files, and what else mentions them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from features import dead_letters, erasure, ledger, stream
from features.connection import connect
from features.events.schema import Decision, Erased, encode
from models.bundle import read_descriptions
from service.audiences import files
from service.customers.schema import ErasureReport, Trained
from service.customers.settling import await_archive, forget_answers
from service.dialects import memory
from service.experiments.reports import growing

if TYPE_CHECKING:
    from features.events.schema import Event
    from features.settings import Settings
    from service.decisions.store import DecisionStore

APPEND_SECONDS = 2.0
KEPT = [
    "counts of candidates: popularity in which nobody can be told apart",
    "hashes of message ids, for 24 hours, against duplicates",
    "models: see trained_models",
    "files of audiences that were written elsewhere, or are being made at this moment",
    "a fingerprint of each id, for an hour, for replays that run",
    "logs of this server, backups, and files that an import has rejected",
]


async def erase(store: DecisionStore, settings: Settings, redis_url: str, ids: list[str]) -> ErasureReport:
    """Erase the customer of these ids. Raises UnreachableError when Redis or the worker does not do its part."""
    now = time.time_ns() // 1000
    tokens = []
    for one in ids:
        event = Erased(message_id=f"erase:{one}:{now}", customer=one, time=now, received=now)
        place = stream.partition_of(one, settings.partitions)
        [arrival] = await store.append(place, [stream.Message(event.message_id, encode(event), one)], APPEND_SECONDS)
        tokens.append((place, arrival))
    await await_archive(store, tokens)
    events = await asyncio.to_thread(erasure.read_events, settings.home, ids)
    cleaned = await asyncio.to_thread(erasure.erase, settings.home, ids)
    await asyncio.to_thread(growing.forget, settings.home)
    decisions = [event.decision_id for _, event in events if isinstance(event, Decision) and event.decision_id]
    answers = await forget_answers(store, settings.partitions, ids, decisions)
    letters = await asyncio.to_thread(_remove_letters, redis_url, ids)
    contacts = await asyncio.to_thread(_forget_contacts, redis_url, ids)
    ranks = await asyncio.to_thread(_forget_ranks, redis_url, ids)
    rows = await asyncio.to_thread(files.forget, settings.home.root / files.FOLDER, ids)
    return ErasureReport(
        ids=ids,
        online_rows=len(ids),
        archived_events=cleaned.events,
        archive_files=cleaned.archive_files,
        history_rows=cleaned.history_rows,
        stored_answers=answers,
        dead_letters=letters,
        contacts=contacts,
        dialect_ranks=ranks,
        audience_rows=rows,
        journey_timers=0,
        trained_models=_trained(settings, [event for _, event in events]),
        kept=KEPT,
    )


def _remove_letters(redis_url: str, ids: list[str]) -> int:
    """Dead letters that have one of the ids in their text."""
    marks = [f'"{one}"'.encode() for one in ids]
    with connect(redis_url) as redis:
        gone = [entry for entry, letter in dead_letters.scan(redis) if any(mark in letter.payload for mark in marks)]
        dead_letters.remove(redis, gone)
    return len(gone)


def _forget_contacts(redis_url: str, ids: list[str]) -> int:
    with connect(redis_url) as redis:
        return ledger.forget(redis, ids)


def _forget_ranks(redis_url: str, ids: list[str]) -> int:
    with connect(redis_url) as redis:
        return memory.forget(redis, ids)


def _trained(settings: Settings, events: list[Event]) -> list[Trained]:
    """Models whose training window meets the events."""
    if not events:
        return []
    first, last = (time.strftime("%Y-%m-%d", time.gmtime(at / 1e6)) for at in (events[0].time, events[-1].time))
    return [
        Trained(model=f"{described.name}/{described.version}", window=described.window)
        for described in read_descriptions(settings.home.bundles)
        if described.window[0][:10] <= last and described.window[1][:10] >= first
    ]
