"""Customers of the shop for audiences: written to a real store, chosen for, and read back."""

from __future__ import annotations

import asyncio
import copy
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.parquet as pq
import redis

from features import snapshots, stream
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, Row, blank
from features.events.occurrences import Item, Occurrence
from features.events.schema import Decision, decode
from features.ids import digest
from features.store import OnlineStore
from service.audiences import running
from service.decisions.warming import warm_up
from service.live import Live
from tests.service import shop

if TYPE_CHECKING:
    from pathlib import Path

    from features.settings import Settings
    from service.audiences.schema import Audience

NOW = time.time_ns() // 1000
HOUR = 3_600_000_000
VIEWS = "features.customer__product_viewed__count_1d"
NEWSLETTER = {"id": "newsletter", "channel": "email", "limit": 1, "default": "o-0", "exploration": 0.0}
CATALOG = copy.deepcopy(shop.CATALOG) | {
    "placements": [*shop.CATALOG["placements"], NEWSLETTER],
    "consent": {"marketing": True},
}


def customer(name: str, *views: int, hour: float = 1.0, **fields: Any) -> Row:
    """Who viewed these offers, each `hour` hours ago."""
    row = blank(LAYOUTS["customer"], name)
    for number in views:
        item = Item(shop.OFFERS[number], digest(shop.OFFERS[number]), digest(shop.CATEGORIES[number % 3]))
        advance_customer(row, Occurrence("Product Viewed", (NOW - hour * HOUR) / 1e6, (item,)))
    row.applied = NOW - HOUR
    for field, value in fields.items():
        setattr(row, field, value)
    return row


def filler(settings: Settings, redis_url: str) -> Any:
    """What writes a catalog, a model and customers."""

    def write(*rows: Row, **changed: Any) -> None:
        shop.write_catalog(settings.home, copy.deepcopy(CATALOG) | changed)
        shop.publish(settings.home, "1")
        store = OnlineStore(settings.home, redis_url)
        store.follow()
        store.write("customer", rows)
        store.write_identities([row for row in rows if row.owner or row.consent or row.assignment or row.traits])
        asyncio.run(store.close())
        with redis.Redis.from_url(redis_url) as client:
            client.set(snapshots.HEAD, msgspec.msgpack.encode(snapshots.Head(1, NOW)))

    return write


def make(settings: Settings, path: Path, where: str | None = None, at: str | None = None, **asked: Any) -> Audience:
    placement, now = asked.get("placement", "newsletter"), time.time_ns() // 1000
    rehearse, explain = asked.get("rehearse", False), asked.get("explain", False)
    begun = running.begin(placement, where, at, rehearse, path.suffix[1:], now, explain)
    url = settings.redis_url or ""
    return asyncio.run(running.run(settings, url, begun, path, lambda _: None))


def frame(settings: Settings, redis_url: str) -> Any:
    """What decisions of now are made over."""

    async def look() -> Any:
        live = Live(settings, redis_url, warm_up)
        await live.refresh()
        await live.close()
        return live.frame

    return asyncio.run(look())


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def decisions(redis_url: str) -> list[Decision]:
    with redis.Redis.from_url(redis_url) as client:
        entries: Any = [entry for number in range(4) for entry in client.xrange(stream.events_key(number))]
    events = [decode(fields[b"e"]) for _, fields in entries]
    return [event for event in events if isinstance(event, Decision)]
