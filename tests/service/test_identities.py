"""Visitors who sign in keep their past: whatever id a request brings, it is decided for the customer behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from features import stream
from features.aggregates.columns import close, decode_rows
from features.aggregates.rows import LAYOUTS
from tests.service.running import wait_until

if TYPE_CHECKING:
    from features.events.schema import Decision
    from tests.service.running import Service

VIEWS = "customer__product_viewed__count_1d"
PARTITIONS = 4


def view(service: Service, **ids: str) -> str:
    event = {"event": "Product Viewed", "properties": {"product_id": "o-7"}, **ids}
    reply = service.post("/v1/track", event)
    assert reply.status_code == 200, reply.text
    token: str = reply.json()["token"]
    return token


def tell(service: Service, kind: str, **ids: str) -> str:
    reply = service.post(f"/v1/{kind}", ids)
    assert reply.status_code == 200, reply.text
    token: str = reply.json()["token"]
    return token


def ask(service: Service, after: str | None = None, **asked: Any) -> str:
    """The id of a decision."""
    body = {"placements": [{"id": "calm"}], "deadline_ms": 5000, "after": after, **asked}
    reply = service.post("/v1/decisions", body)
    assert reply.status_code == 200, reply.text
    found: str = reply.json()["decision_id"]
    return found


def logged(service: Service, customer: str, decision_id: str) -> Decision:
    (found,) = [decision for decision in service.logged(customer) if decision.decision_id == decision_id]
    return found


def views_seen(decision: Decision) -> float:
    """How many views the decision knew of."""
    if decision.state is None:
        return 0.0
    columns = decode_rows(
        LAYOUTS["customer"], [(np.frombuffer(decision.state.numbers), np.frombuffer(decision.state.ids, np.int64))]
    )
    return float(close(columns, np.array([decision.time / 1e6]))[VIEWS][0])


def apart(first: str, second: str) -> bool:
    return stream.partition_of(first, PARTITIONS) != stream.partition_of(second, PARTITIONS)


def test_who_signs_in_keeps_the_past_of_every_device(service: Service) -> None:
    assert apart("sign-phone", "sign-ada")
    for device in ("sign-phone", "sign-laptop"):
        view(service, anonymousId=device)
        view(service, anonymousId=device)
    view(service, userId="sign-ada")
    tokens = [tell(service, "identify", userId="sign-ada", anonymousId=name) for name in ("sign-phone", "sign-laptop")]
    decision = ask(service, customer_id="sign-ada", after=",".join(tokens))
    assert views_seen(logged(service, "sign-ada", decision)) == 5.0


def test_a_joined_device_without_the_known_id_is_the_customer_all_the_same(service: Service) -> None:
    assert apart("back-phone", "back-bert-1")
    view(service, userId="back-bert-1")
    tell(service, "identify", userId="back-bert-1", anonymousId="back-phone")
    token = view(service, anonymousId="back-phone")
    decision = ask(service, anonymous_id="back-phone", after=token)
    found = logged(service, "back-bert-1", decision)
    assert (views_seen(found), found.anonymous_id, found.user_id) == (2.0, "back-phone", None)
    wait_until(lambda: service.features("back-bert-1")[VIEWS] == 2.0)
    assert service.features("back-phone")[VIEWS] == 0.0


def test_both_ids_in_a_request_are_one_customer_before_anybody_joined_them(service: Service) -> None:
    tokens = [view(service, anonymousId="two-a"), view(service, userId="two-c")]
    decision = ask(service, customer_id="two-c", anonymous_id="two-a", after=",".join(tokens))
    assert views_seen(logged(service, "two-c", decision)) == 2.0
    assert service.features("two-c")[VIEWS] == service.features("two-a")[VIEWS] == 1.0


def test_an_alias_hands_over_what_the_previous_id_did(service: Service) -> None:
    view(service, userId="old-name")
    token = tell(service, "alias", previousId="old-name", userId="new-name")
    decision = ask(service, customer_id="old-name", after=token)
    assert views_seen(logged(service, "new-name", decision)) == 1.0


@pytest.mark.parametrize("times", [1, 2])
def test_inline_events_of_a_joined_id_count_for_its_customer_once(service: Service, times: int) -> None:
    phone, known = f"inline-phone-{times}", f"inline-known-{times}"
    token = tell(service, "identify", userId=known, anonymousId=phone)
    viewed = {"event": "Product Viewed", "properties": {"product_id": "o-3"}, "messageId": f"inline-joined-{times}"}
    for _ in range(times):
        ask(service, anonymous_id=phone, after=token, events=[viewed], decision_id=f"inline-joined-{times}")
    wait_until(lambda: service.features(known).get(VIEWS) == 1.0)
    assert service.features(phone)[VIEWS] == 0.0
    assert len([name for name, _ in service.archived(known) if name == f"inline-joined-{times}"]) == 1


def test_signing_in_within_a_decision_request_joins_the_ids(service: Service) -> None:
    view(service, anonymousId="within-a")
    ask(
        service, customer_id="within-c", anonymous_id="within-a", events=[{"type": "identify", "traits": {"plan": "x"}}]
    )
    wait_until(lambda: service.features("within-c").get(VIEWS) == 1.0)
    token = view(service, anonymousId="within-a")
    decision = ask(service, anonymous_id="within-a", after=token)
    assert views_seen(logged(service, "within-c", decision)) == 2.0
