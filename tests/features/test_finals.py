"""Final states by columns: to the bit those that one event after another leaves."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from features import archive, history
from features.aggregates.rows import LAYOUTS, Row, unpack
from features.events.schema import ConsentGiven, Event, Page, Screen, Track
from features.extraction import extract
from features.finals import Final, settle
from features.ids import fingerprint
from features.several import Here
from tests.features.behaviour import CUSTOMERS, DAY, SECOND, behave
from tests.features.deployment import content, deployed, now
from tests.features.test_history import END, import_events
from tests.features.test_identity import OWNERS, live

if TYPE_CHECKING:
    from features.embedded import Server
    from features.home import Home


def settled(home: Home, erased: dict[int, int] | None = None) -> Final:
    return settle(extract(home.archive, lambda *_: None, Here()), erased or {}, Here())


def rows_of(final: Final) -> dict[str, Row]:
    rows = dict(final.rows)
    for at, text in enumerate(final.alone.texts):
        numbers, ids = final.alone.packed.row(at)
        row = unpack(LAYOUTS["customer"], text, int(final.alone.applied[at]), numbers.tolist(), ids.tolist())
        row.consent = final.alone.consents.get(text, {})
        rows[text] = row
    return rows


def whole(row: Row) -> tuple[object, ...]:
    return (*content(row), row.owner, row.linked, row.assignment, row.assigned, row.consent)


def assert_same(home: Home, erased: dict[int, int] | None = None) -> None:
    expected, final = history.replay(home, erased or {}, lambda *_: None), settled(home, erased)
    found = rows_of(final)
    assert found.keys() == expected.customers.keys()
    for text, row in expected.customers.items():
        assert whole(found[text]) == whole(row), text
    if not erased:
        assert final.cursors == expected.cursors
        assert final.events == expected.events
    assert {key: whole(row) for key, row in final.moved.items()} == {
        key: whole(row) for key, row in expected.moved.items()
    }
    for number, part in expected.candidates.items():
        for view in ("candidate", "successors"):
            mine, theirs = getattr(final.candidates.result()[number], view), getattr(part, view)
            assert mine.keys() == theirs.keys()
            for key, row in theirs.items():
                assert content(mine[key]) == content(row), (number, view, row.text)


@pytest.mark.parametrize("seed", range(8))
def test_imported_history_settles_as_one_event_after_another(home: Home, seed: int) -> None:
    import_events(home, behave(seed, 40 * seed, END))
    assert_same(home)


@pytest.mark.parametrize("seed", range(4))
def test_live_and_imported_history_settle_alike_where_they_overlap(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        past = [msgspec.structs.replace(one, message_id=f"i-{one.message_id}") for one in behave(seed, 90, now())]
        import_events(deployment.home, past)
        deployment.live_on(random.Random(seed), behave(seed + 50, 150, now()))
        deployment.drain()
        deployment.snapshot()
        deployment.drain()
        assert_same(deployment.home)


@pytest.mark.parametrize("seed", range(8))
def test_customers_that_links_touch_settle_alike(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events: list[Event] = live(seed, 5 + 30 * seed, OWNERS)
        chance = random.Random(seed)
        for number, customer in enumerate(["ada", "phone-1", "phone-3", "silent"]):
            said = ConsentGiven(
                message_id=f"m-said-{number}",
                customer=customer,
                time=now(),
                received=now(),
                purposes={"marketing": bool(number % 2), "personalisation": True},
            )
            events.insert(chance.randrange(len(events)), said)
        import_events(deployment.home, behave(seed, 40, now() - DAY))
        deployment.live_on(chance, events)
        deployment.drain()
        assert_same(deployment.home)


def test_whom_an_erasure_has_met_begins_anew(home: Home) -> None:
    import_events(home, behave(3, 200, END))
    arrivals = archive.read(home.archive, ["arrival"])["arrival"].to_pylist()
    assert_same(home, {fingerprint(CUSTOMERS[0]): arrivals[100], fingerprint(CUSTOMERS[1]): arrivals[-1]})
    assert CUSTOMERS[1] not in rows_of(settled(home, {fingerprint(CUSTOMERS[1]): arrivals[-1]}))


def test_tables_that_overflow_and_odd_properties_settle_alike(home: Home) -> None:
    chance = random.Random(5)
    events: list[Event] = []
    odd: list[Any] = [None, 7, 1.5, True, "", "x" * 300, [], {}, "7", "é\u2028", "p-1"]
    for number in range(4000):
        at = END + number * SECOND // 7 - (chance.randrange(3 * DAY) if chance.random() < 0.1 else 0)
        if chance.random() < 0.02:
            at = chance.choice([-5, 0, 3, 1_000_000])
        common: dict[str, Any] = {
            "message_id": f"m-{number}",
            "customer": chance.choice(CUSTOMERS[:2]),
            "time": at,
            "received": END + number,
        }
        product = f"p-{min(int(chance.expovariate(1 / 200)), 900)}"
        kind = chance.random()
        properties: dict[str, Any] = {"product_id": product, "category": f"k-{chance.randrange(60)}"}
        if kind < 0.1:
            properties = {
                chance.choice(["product_id", "promotion_id", "sku", "category", "products", "revenue", "total"]): one
                for one in chance.choices(odd, k=4)
            }
        elif kind < 0.2:
            names = [f"p-{chance.randrange(900)}" for _ in range(chance.randrange(70))]
            properties = {"products": [{"product_id": name, "category": f"k-{name[-2:]}"} for name in names]}
        if kind > 0.97:
            events.append((Page if kind > 0.985 else Screen)(**common, properties=properties))
            continue
        name = chance.choice(["Product Viewed"] * 5 + ["Order Completed", "Promotion Clicked", "Searched"])
        events.append(Track(**common, event=name, properties=properties))
    entries = [archive.entry(END + number, event) for number, event in enumerate(events)]
    archive.write(home.archive, "0", archive.tabulate(0, entries))
    assert_same(home)


def test_an_empty_archive_settles_to_nothing(home: Home) -> None:
    final = settled(home)
    assert (final.events, final.alone.texts, final.rows, final.candidates.result()) == (0, [], {}, {})
