"""History in shards: the rows that one event after another gives, to the bit, wherever each shard is worked on."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.dataset as pads
import pytest

from features import history, shards
from features.events.schema import ConsentGiven, Event, Identify
from features.several import Here, spread
from tests.features.behaviour import DAY, behave
from tests.features.deployment import deployed, now
from tests.features.test_history import END, import_events
from tests.features.test_identity import OWNERS, live

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pyarrow as pa

    from features.embedded import Server
    from features.home import Home

VIEWS = ("customer", "candidate", "successors", "identity", "attributes")


def read(home: Home) -> dict[str, pa.Table]:
    """Every view's rows, by entity and time."""
    found = {}
    for view in VIEWS:
        table = pads.dataset(home.history / view, format="parquet").to_table()
        order = [(table.column_names[0], "ascending"), ("event_timestamp", "ascending")]
        found[view] = table.sort_by(order).combine_chunks()
    return found


def assert_alike(home: Home, pool: Executor) -> dict[str, pa.Table]:
    """Both ways give the same rows."""
    history.rebuild(home)
    expected = read(home)
    rows = shards.rebuild(home, pool)
    assert history.is_current(home)
    assert rows == sum(len(expected[view]) for view in ("customer", "candidate", "successors"))
    for view, table in read(home).items():
        assert table.equals(expected[view]), view
    return expected


@pytest.mark.parametrize("seed", range(3))
def test_imported_history_has_the_same_rows(home: Home, seed: int) -> None:
    import_events(home, behave(seed, 40 + 150 * seed, END))
    assert len(assert_alike(home, Here())["customer"]) > 0


@pytest.mark.parametrize("seed", range(4))
def test_customers_that_links_touch_have_the_same_rows(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events: list[Event] = live(seed, 5 + 60 * seed, OWNERS)
        chance = random.Random(seed)
        for number, customer in enumerate(["ada", "phone-1", "phone-3", "silent"]):
            common: dict[str, Any] = {"customer": customer, "time": now(), "received": now()}
            said = ConsentGiven(message_id=f"m-said-{number}", purposes={"marketing": bool(number % 2)}, **common)
            told = Identify(message_id=f"m-told-{number}", traits={"plan": f"p-{number}"}, **common)
            for event in (said, told):
                events.insert(chance.randrange(len(events)), event)
        past = behave(seed, 90, now() - DAY)
        import_events(deployment.home, [msgspec.structs.replace(one, message_id=f"i-{one.message_id}") for one in past])
        deployment.live_on(chance, events)
        deployment.drain()
        deployment.snapshot()
        deployment.drain()
        assert len(assert_alike(deployment.home, Here())["identity"]) > 0


def test_other_processes_write_the_same_rows(home: Home) -> None:
    import_events(home, behave(5, 300, END))
    with spread(pays=True) as pool:
        assert_alike(home, pool)


def test_an_empty_archive_gives_an_empty_history(home: Home) -> None:
    assert shards.rebuild(home, Here()) == 0
    assert history.is_current(home)


def test_progress_never_goes_back_and_ends(home: Home) -> None:
    import_events(home, behave(1, 120, END))
    told: list[tuple[int, int]] = []
    shards.rebuild(home, Here(), lambda done, total: told.append((done, total)))
    shares = [done / total for done, total in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
