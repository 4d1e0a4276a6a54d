"""How old the features of a decision were: told with `explain`, and missing beyond their view's TTL."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from features.aggregates.engine import Candidates, advance_candidates, advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack
from features.events.occurrences import Item, Occurrence
from features.ids import digest
from features.lifetimes import LIFETIMES
from features.snapshots import Head
from features.store import Packed
from features.streaming import StoredRow
from service.catalog.compiled import compile_catalog
from service.catalog.schema import Catalog
from service.decisions import frame
from service.decisions.choose import choose
from service.decisions.explain import tell_ages
from service.decisions.question import Question
from service.decisions.record import answer
from service.decisions.schema import AskedPlacement
from service.decisions.scoring import current_state, open_customer
from tests.service import shop

if TYPE_CHECKING:
    from tests.service.running import Service

NOW = 1_800_000_000_000_000
LIFETIME = LIFETIMES["customer"] // timedelta(microseconds=1)
VIEWS = ["customer", "candidate", "successors", "attributes"]


def state(applied: int) -> Packed:
    row = blank(LAYOUTS["customer"], "")
    viewed = Item("o-1", digest("o-1"), digest("hats"))
    advance_customer(row, Occurrence("Product Viewed", applied / 1e6, (viewed,)))
    numbers, ids = pack(row)
    return Packed(applied, np.array(numbers), np.array(ids))


def pose(state: Packed | None, successors_applied: int = NOW, **changed: Any) -> Question:
    """A question about the shop, with a row of what followed its candidate `o-1`."""
    after = blank(LAYOUTS["successors"], "o-1")
    numbers, ids = pack(after)
    catalog = compile_catalog(Catalog.model_validate(copy.deepcopy(shop.CATALOG)), "v-7")
    rows = {digest("o-1"): StoredRow("o-1", successors_applied, numbers, ids)}
    asked = Question(
        decision_id="d-1",
        now=NOW,
        placements=[AskedPlacement(id="calm")],
        context={},
        flags={},
        state=state,
        occurrences=[],
        frame=frame.build(catalog, Head(9, NOW - 2_000_000), {}, rows),
        models={},
        rung="model",
    )
    return msgspec.structs.replace(asked, **changed)


def counted(view: str) -> float:
    return REGISTRY.get_sample_value("kairos_expired_total", {"view": view}) or 0.0


def columns(question: Question) -> list[float]:
    values: list[float] = open_customer(question).columns.head[0].tolist()
    return values


def test_a_row_counts_to_the_last_microsecond_of_its_ttl_and_is_missing_and_counted_after_it() -> None:
    lasting, gone = pose(state(NOW - LIFETIME)), pose(state(NOW - LIFETIME - 1))
    assert current_state(lasting) is lasting.state
    assert current_state(gone) is None
    before = counted("customer")
    assert columns(lasting) != columns(pose(None))
    assert counted("customer") == before
    assert columns(gone) == columns(pose(None))
    assert counted("customer") == before + 1


def test_inline_events_of_a_visitor_who_returns_after_the_ttl_start_afresh() -> None:
    viewed = Occurrence("Product Viewed", NOW / 1e6, (Item("o-2", digest("o-2"), digest("hats")),))
    returned = pose(state(NOW - LIFETIME - 1), occurrences=[viewed])
    assert columns(returned) == columns(pose(None, occurrences=[viewed]))


def test_the_answer_has_no_time_of_features_that_are_missing_by_age() -> None:
    for row, told in ((state(NOW - LIFETIME - 1), None), (state(NOW), "2027-01-15T08:00:00.000000Z"), (None, None)):
        question = pose(row)
        assert answer(question, choose(question), 0.0).features_as_of == told


def test_what_followed_a_candidate_is_missing_when_nothing_has_for_longer_than_the_ttl_of_its_snapshot() -> None:
    taken = NOW - 2_000_000
    last = taken - LIFETIMES["successors"] // timedelta(microseconds=1)
    before = counted("successors")
    open_customer(pose(state(NOW), successors_applied=last))
    assert counted("successors") == before
    open_customer(pose(state(NOW), successors_applied=last - 1))
    assert counted("successors") == before + 1


def test_a_candidate_without_an_event_for_longer_than_the_ttl_of_its_snapshot_is_as_one_never_seen() -> None:
    catalog, head = pose(None).frame.compiled, Head(9, NOW)
    row = blank(LAYOUTS["candidate"], "o-1")
    candidates = Candidates(candidate={digest("o-1"): row})
    ordered = Occurrence("Order Completed", NOW / 1e6, (Item("o-1", digest("o-1"), digest("hats")),))
    advance_candidates(candidates, blank(LAYOUTS["customer"], "c"), ordered, NOW)
    numbers, ids = pack(row)

    def built(applied: int) -> list[float]:
        rows = {digest("o-1"): StoredRow("o-1", applied, numbers, ids)}
        values: list[float] = frame.build(catalog, head, rows, {}).candidates.head.ravel().tolist()
        return values

    last = NOW - LIFETIMES["candidate"] // timedelta(microseconds=1)
    before = counted("candidate")
    assert built(last) == built(NOW) != frame.build(catalog, head, {}, {}).candidates.head.ravel().tolist()
    assert counted("candidate") == before
    assert built(last - 1) == frame.build(catalog, head, {}, {}).candidates.head.ravel().tolist()
    assert counted("candidate") == before + 1


def test_each_view_has_its_age() -> None:
    ages = tell_ages(pose(state(NOW - 1_500_000)))
    assert [age.view for age in ages] == VIEWS
    customer, candidate, successors, attributes = ages
    assert (customer.age_seconds, customer.as_of, customer.expired) == (1.5, "2027-01-15T07:59:58.500000Z", False)
    assert (candidate.age_seconds, candidate.version) == (2.0, "9") == (successors.age_seconds, successors.version)
    assert (attributes.version, attributes.age_seconds) == ("v-7", None)
    assert tell_ages(pose(state(NOW - LIFETIME - 1)))[0].expired
    unknown = tell_ages(pose(None, frame=frame.build(pose(None).frame.compiled, None, {}, {})))
    assert [(age.as_of, age.age_seconds) for age in unknown] == [(None, None)] * 4


def test_an_explained_decision_tells_ages_and_a_plain_one_does_not(service: Service) -> None:
    token = service.track("ages-1", "Product Viewed", product_id="o-3")
    told = service.decide("ages-1", explain=True, after=token)
    ages = {age["view"]: age for age in told["ages"]}
    assert list(ages) == VIEWS
    assert ages["customer"]["as_of"] == told["features_as_of"]
    assert ages["customer"]["age_seconds"] >= 0
    assert ages["attributes"]["version"] == told["catalog_version"]
    assert "ages" not in service.decide("ages-1")


def test_the_apis_description_says_what_ages_are(service: Service) -> None:
    schemas = service.get("/schema/openapi.json").json()["components"]["schemas"]
    (age,) = (schema for name, schema in schemas.items() if name.endswith("ViewAge"))
    assert set(age["properties"]) == {"view", "version", "as_of", "age_seconds", "expired"}
    (reply,) = (schema for name, schema in schemas.items() if name.endswith("DecisionAnswer"))
    assert "ages" in reply["properties"]
    assert "ages" not in reply["required"]
    assert {"features_as_of", "model"} <= set(reply["required"])


@pytest.mark.parametrize("customer", ["ages-2"])
def test_a_decision_on_a_row_beyond_its_ttl_is_logged_as_it_was_read(service: Service, customer: str) -> None:
    from features.store import OnlineStore

    old = state(NOW)
    row = old.unpack(LAYOUTS["customer"], customer)
    row.applied = 1_500_000_000_000_000
    OnlineStore(service.home, service.redis_url).write("customer", [row])
    told = service.decide(customer, explain=True)
    assert told["features_as_of"] is None
    assert told["ages"][0]["expired"]
    assert told["rung"] == "model"
    (logged,) = service.logged(customer)
    assert logged.state is not None
    assert logged.state.applied == row.applied
    assert 'kairos_expired_total{view="customer"}' in service.get("/metrics").text
