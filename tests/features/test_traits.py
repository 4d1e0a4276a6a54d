"""Traits end as the latest identify of each says, whichever ids and order they come by, live and rebuilt alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from features import replay, traits
from features.events.schema import Alias, Erased, Event, Identify
from tests.features.deployment import PARTITIONS, Deployment, deployed, now

if TYPE_CHECKING:
    import pytest

    from features.embedded import Server

VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.text(max_size=2))
TRAITS = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 3), VALUES))


@given(TRAITS, TRAITS, TRAITS)
def test_traits_of_two_ids_merge_in_any_order(one: traits.Traits, other: traits.Traits, third: traits.Traits) -> None:
    assert traits.merge(one, other) == traits.merge(other, one)
    assert traits.merge(traits.merge(one, other), third) == traits.merge(one, traits.merge(other, third))
    assert traits.merge(one, {}) == one


def test_the_latest_traits_are_kept_and_long_ones_are_passed_over() -> None:
    many: dict[str, Any] = {f"t-{number:02}": number for number in range(traits.MOST)}
    event = told("c", at=1, **many, long="x" * 300)
    said = traits.take_in({}, event)
    assert len(said) == traits.MOST
    said = traits.take_in(said, told("c", at=2, plan="gold"))
    assert len(said) == traits.MOST
    assert said["plan"] == (2, "gold")


def told(customer: str, at: int = 0, user_id: str | None = None, **values: Any) -> Identify:
    time = at or now()
    name = f"m-{customer}-{user_id}-{sorted(values)}-{time}"
    return Identify(message_id=name, customer=customer, user_id=user_id, time=time, received=time, traits=values)


def alias(customer: str, owner: str) -> Alias:
    at = now()
    return Alias(message_id=f"m-{at}", customer=customer, user_id=owner, previous_id=customer, time=at, received=at)


def known(deployment: Deployment, customer: str) -> dict[str, Any]:
    async def read() -> Any:
        try:
            return (await deployment.store.read_newest([customer], PARTITIONS, True))[0]
        finally:
            await deployment.store.line.close()

    [one] = asyncio.run(read())
    return traits.values(one.traits)


def rebuilt(deployment: Deployment) -> None:
    replay.replay(deployment.settings, deployment.url)
    deployment.open()


EVENTS: list[list[Event]] = [
    [told("ada", user_id="ada", plan="free", city="Rom")],
    [told("phone", colour="red")],  # of a device, before anybody signed in on it
    [told("phone", user_id="ada", plan="gold")],  # who signs in tells more of themselves
    [told("phone", user_id="ada", age=40)],  # and again, when the device is theirs
    [told("phone", user_id="ada", city=None)],  # null takes a trait back
    [alias("ada", "eve"), told("eve", user_id="eve", name="Eve")],
    [told("ada", user_id="ada", plan="max")],  # by the old name
]
END = {"plan": "max", "age": 40, "colour": "red", "name": "Eve"}


def test_traits_are_the_latest_of_each_live_and_rebuilt(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        deployment.append(EVENTS[0])
        assert known(deployment, "ada") == {"plan": "free", "city": "Rom"}  # before the worker has come to it
        for part in EVENTS[1:]:
            deployment.append(part)
            deployment.drain()
        assert known(deployment, "eve") == END
        rows = deployment.store.load_customers(["ada", "phone", "eve"])
        assert (rows["ada"].owner, rows["phone"].owner, rows["eve"].owner) == ("eve", "ada", "")
        assert not rows["ada"].traits | rows["phone"].traits
        rebuilt(deployment)
        assert known(deployment, "eve") == END
        deployment.append([told("ada", plan="none"), told("alone", x=1), told("lone", y=1)])
        deployment.drain()
        for _ in range(2):  # the second goes on from what the first has kept
            rebuilt(deployment)
            deployment.append([told("alone", z=2)])
            deployment.drain()
        rebuilt(deployment)
        assert known(deployment, "eve") == END | {"plan": "none"}
        assert known(deployment, "alone") == {"x": 1, "z": 2}
        assert known(deployment, "lone") == {"y": 1}


def test_who_is_erased_has_no_traits(redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        at = now()
        deployment.append([told("ada", plan="gold"), Erased(message_id="e", customer="ada", time=at, received=at)])
        deployment.drain()
        assert known(deployment, "ada") == {}


def test_who_may_not_be_tracked_tells_nothing(redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        deployment.processor.tracked = False
        deployment.append([told("ada", plan="gold")])
        deployment.drain()
        assert deployment.store.load_customers(["ada"])["ada"].traits == {}
