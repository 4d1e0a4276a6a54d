"""The logged decision: from it alone, the same decision is made again to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features import snapshots
from features.aggregates.rows import LAYOUTS
from features.events.occurrences import read
from features.events.schema import Decision, encode
from features.store import Packed
from features.streaming import StoredRow, parse_field
from models.bundle import load
from service.catalog import reading
from service.catalog.compiled import compile_catalog
from service.decisions import frame
from service.decisions.choose import choose
from service.decisions.question import Question
from service.decisions.record import answer, record
from service.decisions.schema import AskedPlacement, DecisionRequest
from tests.service import shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from tests.service.running import Service


def snapshot(service: Service) -> tuple[snapshots.Head, dict[str, dict[int, StoredRow]]]:
    """The candidates' states as they are in Redis now."""
    with service.connect() as client, client.pipeline(transaction=True) as pipe:
        pipe.get(snapshots.HEAD)
        pipe.hgetall(snapshots.ROWS)
        head, fields = pipe.execute()
    rows: dict[str, dict[int, StoredRow]] = {"candidate": {}, "successors": {}}
    for field, payload in fields.items():
        if (parsed := parse_field(field)) is not None:
            rows[parsed[0]][parsed[1]] = snapshots.decode_stored(payload)
    return snapshots.decode_head(head), rows


def replay(service: Service, logged: Decision, head: snapshots.Head, rows: dict[str, dict[int, StoredRow]]) -> Decision:
    """Make a logged decision again from its event, its snapshot, its catalog and its models."""
    catalog, version = reading.read(service.home.catalog)
    assert version == logged.catalog_version
    assert head.number == logged.snapshot
    label = next((slot.model for slot in logged.placements if slot.model), None)
    models = {"champion": load(service.home.bundles / label)} if label else {}
    state = None
    if logged.state is not None:
        assert logged.state.layout == LAYOUTS["customer"].version
        numbers, keys = np.frombuffer(logged.state.numbers), np.frombuffer(logged.state.ids, np.int64)
        state = Packed(logged.state.applied, numbers, keys)
    placements = [
        AskedPlacement(id=slot.id, limit=slot.limit, candidates=slot.candidates) for slot in logged.placements
    ]
    question = Question(
        decision_id=logged.seed,
        now=logged.time,
        placements=placements,
        context=logged.context,
        flags={name: logged.variants[name] for name in logged.forced},
        unit=logged.unit,
        anonymous=logged.anonymous_id or "",
        state=state,
        occurrences=[seen for event in logged.events if (seen := read(event)) is not None],
        frame=frame.build(compile_catalog(catalog, version), head, rows["candidate"], rows["successors"]),
        models=models,
        rung="model",
    )
    asked = DecisionRequest(
        placements=placements, customer_id=logged.user_id, anonymous_id=logged.anonymous_id, context=logged.context
    )
    chosen = choose(question)
    again = record(question, chosen, answer(question, chosen, 0.0), asked, logged.customer, logged.events)
    return msgspec.structs.replace(again, took=logged.took)  # how long it takes is another matter


def behave(service: Service, customer: str, count: int, products: int) -> None:
    """A batch of views, orders, exposures and clicks of different products."""
    names = ("Product Viewed", "Product Viewed", "Order Completed", "Promotion Viewed", "Promotion Clicked")
    batch = [
        {
            "type": "track",
            "userId": customer,
            "event": names[number % 5],
            "messageId": f"{customer}-{number}",
            "properties": {
                "product_id": f"o-{number % products}",
                "promotion_id": f"o-{number % products}",
                "category": shop.CATEGORIES[number % 3],
                "revenue": number + 0.1,
            },
        }
        for number in range(count)
    ]
    token = service.post("/v1/batch", {"batch": batch}).json()["token"]
    service.decide(customer, after=token)
    service.everywhere(lambda ready: ready["snapshot"] > 0)


def test_every_logged_decision_is_made_again_to_the_bit(service: Service) -> None:
    behave(service, "log-1", 40, 12)
    viewed = {"event": "Product Viewed", "properties": {"product_id": "o-8"}}
    page = [{"id": "grid", "limit": 6}, {"id": "calm", "candidates": ["o-2", "nowhere", "o-11"]}, {"id": "pair"}]
    requests: list[dict[str, Any]] = [
        {"placements": page, "context": {"device": "mobile", "timezone": "Asia/Tokyo", "page": {"path": "/ä"}}},
        {"placements": page, "events": [viewed, viewed], "anonymous_id": "log-anonymous"},
        {"placements": page, "flags": {"look": "uniform"}, "context": {"device": {"type": "desktop"}}},
        {"placements": page, "flags": {"look": "unmodelled"}},
    ]
    for number, asked in enumerate(requests):

        def decided_on_the_snapshot_in_redis(asked: dict[str, Any] = asked, number: int = number) -> bool:
            head, rows = snapshot(service)
            customer = ("log-new", "log-1")[number % 2]
            answer = service.decide(customer, **asked)
            logged = service.logged(customer)[-1]
            if logged.snapshot != head.number:
                return False  # a new snapshot came in between: once more
            again = replay(service, logged, head, rows)
            assert encode(again) == encode(logged)
            for slot, placement in zip(again.placements, answer["placements"], strict=True):
                for item, told in zip(slot.items, placement["items"], strict=True):
                    assert (item.id, item.propensity, item.priority) == (
                        told["id"],
                        told["propensity"],
                        told["priority"],
                    )
                    drawn = None if "flags" in asked else item.selection_probability
                    assert told["selection_probability"] == drawn
            return True

        wait_until(decided_on_the_snapshot_in_redis)


def test_a_logged_decision_says_all_it_depended_on(service: Service) -> None:
    behave(service, "log-2", 10, 12)
    answer = service.decide(
        "log-2",
        "grid",
        anonymous_id="log-a",
        context={"device": "mobile"},
        flags={"look": "usual"},
        events=[{"event": "Searched"}],
    )
    logged = service.logged("log-2")[-1]
    assert logged.decision_id == logged.seed == answer["decision_id"]
    assert (logged.customer, logged.user_id, logged.anonymous_id) == ("log-2", "log-2", "log-a")
    assert (logged.rung, logged.catalog_version) == ("model", answer["catalog_version"])
    assert logged.context == {"device": "mobile"}
    assert (logged.variants, logged.forced) == ({"look": "usual"}, ["look"])
    assert logged.snapshot > 0
    assert 0 < logged.snapshot_time <= logged.time == logged.received
    assert logged.state is not None
    (event,) = logged.events
    assert event.message_id == f"{logged.decision_id}#0"
    (slot,) = logged.placements
    assert (slot.id, slot.limit, slot.exploration, slot.model) == ("grid", 4, 0.3, "offers/1")
    # The page is told no chance of what was forced: the log has the variant's own, which training reads.
    assert [item["selection_probability"] for item in answer["placements"][0]["items"]] == [None] * 4
    assert all(0 < (item.selection_probability or 0) < 1 for item in slot.items)


def test_a_logged_decision_is_small(service: Service) -> None:
    behave(service, "log-3", 60, 20)
    page = [{"id": "grid", "limit": 6}, {"id": "calm"}]
    answer = service.decide("log-3", placements=page, context={"device": "mobile", "page": {"path": "/shop"}})
    payload = dict(service.archived("log-3"))[f"decision:{answer['decision_id']}"]
    assert len(payload) <= 5 * 1024
