"""What audiences take up of caps, budgets and stock, and when they are to be sent."""

from __future__ import annotations

import asyncio
import copy
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import redis

from features import archive
from features.aggregates.columns import decode_rows
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack
from features.events.occurrences import Item, Occurrence
from features.events.schema import Track
from features.ids import digest
from service.audiences import running
from service.audiences.hours import best_hours, next_moment
from tests.service import shop
from tests.service.crowd import HOUR, NOW, customer, decisions, filler, make, rows

if TYPE_CHECKING:
    from pathlib import Path

    from features.settings import Settings
    from service.audiences.schema import Audience


@pytest.fixture
def fill(settings: Settings, redis_url: str) -> Any:
    return filler(settings, redis_url)


CAPS = [{"id": "weekly", "per": ["customer"], "limit": 1, "period": "7d", "scope": {"channels": ["email"]}}]


def test_a_cap_lets_a_second_audience_reach_nobody(settings: Settings, fill: Any, tmp_path: Path) -> None:
    fill(*(customer(f"c-{number}", number) for number in range(5)), caps=CAPS)
    assert make(settings, tmp_path / "tried.parquet", rehearse=True).given == 5
    assert make(settings, tmp_path / "first.parquet").given == 5
    second = make(settings, tmp_path / "second.parquet")
    assert (second.given, second.nothing) == (0, {"cap:weekly": 5})
    found = rows(tmp_path / "second.parquet")
    assert {(row["reason"], row["decision_id"]) for row in found} == {("cap:weekly (10)", None)}  # nothing is logged


def test_budgets_and_stock_are_never_overspent_also_by_two_audiences_at_once(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:
    candidates = copy.deepcopy(shop.CANDIDATES)
    candidates[1]["stock"] = 7
    budgets = [{"id": "mails", "limit": 40, "period": "30d", "scope": {"placements": ["newsletter"]}}]
    crowd = [customer(f"c-{number:03}", number % 12) for number in range(60)]
    fill(*crowd, candidates=candidates, budgets=budgets)

    async def both() -> list[Audience]:
        now = time.time_ns() // 1000
        begun = [running.begin("newsletter", None, None, False, "parquet", now) for _ in range(2)]
        return await asyncio.gather(
            *(
                running.run(settings, redis_url, one, tmp_path / f"{at}.parquet", lambda _: None)
                for at, one in enumerate(begun)
            )
        )

    done = asyncio.run(both())
    assert sum(one.given for one in done) <= 40
    found = [row["candidate"] for at in range(2) for row in rows(tmp_path / f"{at}.parquet") if row["candidate"]]
    assert len(found) == sum(one.given for one in done)
    assert found.count("o-1") <= 7
    assert sum(one.given for one in done) >= 20


def test_the_time_of_sending_is_the_customers_best_hour(settings: Settings, fill: Any, tmp_path: Path) -> None:
    zone = ZoneInfo(shop.CATALOG["time_zone"])
    fill(customer("early", 1, 2, 3, hour=26.0), customer("new"))
    at = datetime.fromtimestamp(NOW / 1e6 + 7200, UTC).replace(microsecond=0)
    make(settings, tmp_path / "a.parquet", at=at.isoformat())
    found = {row["customer"]: row for row in rows(tmp_path / "a.parquet")}
    seen = datetime.fromtimestamp(NOW / 1e6 - 26 * 3600, zone)
    assert found["early"]["best_hour"] == seen.hour
    sent = found["early"]["send_at"]
    assert 0 <= (sent - at).total_seconds() <= 86_400
    assert sent.astimezone(zone).hour == seen.hour
    assert (found["new"]["best_hour"], found["new"]["send_at"]) == (None, at)


def test_best_hours_are_those_with_the_most_moments_around_them() -> None:
    day = datetime(2026, 3, 10, tzinfo=UTC).timestamp()
    row = blank(LAYOUTS["customer"], "c")
    for number, hour in enumerate((9.0, 20.1, 20.9, 21.5, 3.0)):
        item = Item(shop.OFFERS[number], digest(shop.OFFERS[number]), 0)
        advance_customer(row, Occurrence("Product Viewed", day + hour * 3600, (item,)))
    numbers, ids = pack(row)
    empty = pack(blank(LAYOUTS["customer"], "d"))
    columns = decode_rows(LAYOUTS["customer"], [empty, (numbers, ids)])
    assert best_hours(columns, UTC) == [None, 20]
    assert best_hours(columns, ZoneInfo("Asia/Kolkata")) == [None, 2]  # 20:54 and 21:30 there are 2:24 and 3:00
    noon = int(datetime(2026, 3, 10, 12, 30, tzinfo=UTC).timestamp()) * 1_000_000
    assert next_moment(noon, 12, UTC) == noon
    assert next_moment(noon, 13, UTC) == noon + HOUR // 2
    assert next_moment(noon, 11, UTC) == noon + 45 * HOUR // 2
    assert next_moment(noon, None, UTC) == noon


def test_what_is_over_is_chosen_over_the_history_and_reserves_nothing(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:

    fill(caps=CAPS)
    then = NOW - 48 * HOUR

    def track(name: str, time: int) -> Track:
        properties = {"product_id": "o-1", "category": "hats"}
        return Track(
            message_id=f"{name}{time}",
            customer=name,
            time=time,
            received=time,
            event="Product Viewed",
            properties=properties,
        )

    events = [
        (then - 5, track("old", then - 5)),
        (then - 3, track("link", then - 3)),
        (then + HOUR, track("later", then + HOUR)),
    ]
    table = archive.tabulate(0, [archive.entry(arrival, event) for arrival, event in events])
    archive.write(settings.home.archive, "0", table)
    done = make(settings, tmp_path / "past.parquet", at=datetime.fromtimestamp(then / 1e6, UTC).isoformat())
    assert done.rehearsal
    assert [row["customer"] for row in rows(tmp_path / "past.parquet")] == ["link", "old"]
    assert decisions(redis_url) == []
    with redis.Redis.from_url(redis_url) as client:
        assert not list(client.scan_iter("kairos:{ledger}*"))
