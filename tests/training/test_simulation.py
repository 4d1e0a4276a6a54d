"""The simulated shop: its probabilities, its visits, its catalog, and the crowd's client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.home import Home
from service.catalog.reading import parse
from training.simulation import catalog, crowd, deployment
from training.simulation.client import Client
from training.simulation.connection import ServiceError
from training.simulation.figures import Rate, best_rate, click_rate
from training.simulation.visit import oracle, play, visit
from training.simulation.world import ATTENTION, World, best_slate, build, click_probabilities, uniform_slate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from training.simulation.visit import Judgement, Page, Policy

WORLD = build(np.random.default_rng(5), customers=300)
OFFERS, CATEGORIES = len(WORLD.offers), len(WORLD.categories)
positions = st.integers(0, OFFERS - 1)


def uniform(generator: np.random.Generator) -> Policy:
    return lambda _page, _placement: [int(offer) for offer in generator.permutation(OFFERS)]


def by_taste(page: Page, _placement: str) -> Sequence[int]:
    scores = WORLD.tastes[page.customer][WORLD.category_of] * WORLD.appeals
    return [int(offer) for offer in np.argsort(-scores, kind="stable")]


def simulate(policy: Policy, visits: int = 600, seed: int = 1) -> list[Judgement]:
    generator = np.random.default_rng(seed)
    customers = generator.integers(len(WORLD.customers), size=visits).tolist()
    seen = np.zeros((len(WORLD.customers), OFFERS), np.int64)
    return play(WORLD, customers, policy, seen, generator)


def heroes(judgements: list[Judgement]) -> list[Judgement]:
    return [judgement for judgement in judgements if judgement.placement == "home-hero"]


def probabilities(world: World, customer: int = 0, interested: int | None = None, seen: int = 0) -> np.ndarray:
    interest = np.zeros(CATEGORIES)
    if interested is not None:
        interest[interested] = 0.5
    return click_probabilities(world, customer, interest, np.full(OFFERS, seen))


@given(customer=st.integers(0, 299), offer=positions, seen=st.integers(0, 50))
def test_another_exposure_never_raises_a_click_probability_and_the_first_lowers_it(
    customer: int, offer: int, seen: int
) -> None:
    fresh, before, after = (probabilities(WORLD, customer, seen=count)[offer] for count in (0, seen, seen + 1))
    assert after <= before
    assert after < fresh


@given(customer=st.integers(0, 299), offer=positions)
def test_interest_raises_the_offers_of_its_category_and_no_others(customer: int, offer: int) -> None:
    category = int(WORLD.category_of[offer])
    calm, keen = probabilities(WORLD, customer), probabilities(WORLD, customer, interested=category)
    inside = WORLD.category_of == category
    assert (keen[inside] > calm[inside]).all()
    assert (keen[~inside] == calm[~inside]).all()


@given(customer=st.integers(0, 299), shown=st.lists(positions, min_size=4, max_size=4, unique=True))
def test_no_slate_is_expected_to_be_clicked_more_than_the_best_one(customer: int, shown: list[int]) -> None:
    chances = probabilities(WORLD, customer, interested=int(WORLD.category_of[shown[0]]))
    attention = ATTENTION["home-grid"]
    expected = float(chances[shown] @ np.array(attention))
    assert 0.0 <= expected <= best_slate(chances, attention) + 1e-12
    assert uniform_slate(chances, attention) <= best_slate(chances, attention)


@pytest.mark.parametrize("policy", [oracle, by_taste, uniform(np.random.default_rng(2))])
def test_no_policy_is_expected_to_do_better_than_the_oracle_at_the_same_moment(policy: Policy) -> None:
    assert all(judgement.expected <= judgement.best + 1e-12 for judgement in simulate(policy, 300))


def test_the_oracle_reaches_the_best_on_the_placement_that_chooses_first() -> None:
    judgements = heroes(simulate(oracle, 300))
    assert [judgement.expected for judgement in judgements] == pytest.approx([each.best for each in judgements])


def test_uniform_picks_are_clicked_as_often_as_the_formula_says() -> None:
    judgements = heroes(simulate(uniform(np.random.default_rng(2)), 1000))
    predicted = float(np.mean([judgement.uniform for judgement in judgements]))
    low, high = click_rate(judgements).interval
    assert low <= predicted <= high
    assert np.mean([judgement.expected for judgement in judgements]) == pytest.approx(predicted, rel=0.1)


def test_there_is_much_to_win_by_knowing_the_visitor() -> None:
    picked = heroes(simulate(uniform(np.random.default_rng(2))))
    known = heroes(simulate(oracle))
    assert 0.03 < click_rate(picked).value < 0.06
    assert 0.15 < best_rate(known) < 0.25
    assert click_rate(heroes(simulate(by_taste))).value > 2 * click_rate(picked).value


def test_the_same_seed_gives_the_same_world_and_the_same_visits() -> None:
    again = build(np.random.default_rng(5), customers=300)
    assert again.offers == WORLD.offers
    assert (again.tastes == WORLD.tastes).all()
    assert simulate(oracle, 50) == simulate(oracle, 50)
    assert simulate(oracle, 50) != simulate(oracle, 50, seed=2)


def test_what_a_page_reports_is_what_was_shown_on_the_page_before() -> None:
    seen = np.zeros(OFFERS, np.int64)
    visitor = visit(WORLD, 0, seen, np.random.default_rng(3))
    page, shown_in_all = next(visitor), 0
    while page.placements:
        shown = {name: list(range(len(ATTENTION[name]))) for name in page.placements}
        page = visitor.send(shown)
        reported = [(each.placement, each.offer) for each in page.happenings if each.event == "Promotion Viewed"]
        clicked = [(each.placement, each.offer) for each in page.happenings if each.event == "Promotion Clicked"]
        assert reported == [(name, offer) for name, offers in shown.items() for offer in offers]
        assert set(clicked) <= set(reported)
        assert sum(judgement.clicks for judgement in page.judgements) == len(clicked)
        shown_in_all += len(reported)
    assert seen.sum() == shown_in_all


def test_bookings_keep_every_customer_in_one_arm_and_mix_the_arms() -> None:
    bookings = crowd.book(WORLD, 900, ["uniform", "trained"], np.random.default_rng(1), first=100)
    arms: dict[int, set[str]] = {}
    for booking in bookings:
        arms.setdefault(booking.customer, set()).add(booking.arm)
    assert len(arms) == len(WORLD.customers)
    assert all(len(names) == 1 for names in arms.values())
    assert [booking.number for booking in bookings] == list(range(100, 1000))
    assert 150 < sum(booking.arm == "trained" for booking in bookings[:450]) < 300
    visits = np.bincount([booking.customer for booking in bookings])
    assert visits.max() - visits.min() <= 1


def test_the_service_accepts_the_catalog_of_the_shop() -> None:
    document, _ = parse("demo", catalog.write(WORLD))
    assert {placement.id: placement.limit for placement in document.placements} == {"home-hero": 1, "home-grid": 4}
    assert [candidate.id for candidate in document.candidates] == [offer.id for offer in WORLD.offers]
    assert {float(candidate.value) * candidate.weight for candidate in document.candidates} == {1.0}
    variants = {variant.id: variant.exploration for variant in document.experiments[0].variants}
    assert variants == {"trained": 0.02, "uniform": 1.0, "steady": 0.0}


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(10, 100, 0.0552, 0.1744), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)]
)
def test_the_interval_of_a_rate_is_wilsons(hits: int, of: int, low: float, high: float) -> None:
    assert Rate(hits, of).interval == pytest.approx((low, high), abs=1e-4)


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(deployment.DemoError, match="choose another with --home"):
        deployment.prepare(Home(tmp_path), "")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_demos_own_folder_is_emptied(tmp_path: Path) -> None:
    home = Home(tmp_path / "demo")
    deployment.prepare(home, "first: 1\n")
    (home.root / "left-over").write_text("")
    deployment.prepare(home, "second: 2\n")
    assert home.catalog.read_text() == "second: 2\n"
    assert not (home.root / "left-over").exists()


def test_the_demo_does_not_touch_a_deployment_that_the_environment_names() -> None:
    variables = {"PATH": "/bin", "KAIROS_REDIS_URL": "redis://shop", "MLFLOW_TRACKING_URI": "http://shop"}
    assert deployment.environment(variables) == {"PATH": "/bin", "PYTHONUNBUFFERED": "1"}


class Served:
    """A server that answers each request on a connection with the next of `answers`, then closes it."""

    def __init__(self, *answers: bytes) -> None:
        self.answers, self.bodies, self.connections = answers, list[bytes](), 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for answer in self.answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            self.bodies.append(await reader.readexactly(length))
            writer.write(answer)
            await writer.drain()
        writer.close()

    def ask(self, asking: Callable[[Client], Awaitable[None]]) -> None:
        async def main() -> None:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            async with server:
                client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
                try:
                    await asking(client)
                finally:
                    client.close()

        asyncio.run(main())


def test_the_client_reads_answers_in_chunks_and_goes_on_when_an_idle_connection_was_closed() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfir\r\n2\r\nst\r\n0\r\n\r\n"
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
    server = Served(chunked, plain)

    async def asking(client: Client) -> None:
        for _ in range(2):
            assert await client.request("GET", "/") == b"first"
            assert await client.request("GET", "/") == b"second"

    server.ask(asking)
    assert server.connections == 2
    assert len(server.bodies) == 4


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'HTTP/1.1 503 Busy\r\nContent-Length: 16\r\n\r\n{"detail":"full"', "503 .*full"),
        (b"SSH-2.0\r\n\r\n", "not HTTP"),
        (b"", "closed by the service"),
    ],
)
def test_the_client_tells_what_is_wrong_with_an_answer(answer: bytes, words: str) -> None:
    async def asking(client: Client) -> None:
        with pytest.raises(ServiceError, match=words):
            await client.request("GET", "/ready")

    Served(answer).ask(asking)


def test_the_client_sends_events_again_when_the_service_is_busy() -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"
    taken = b'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{"success":true,"token":"t-1"}'
    server = Served(busy, taken)

    async def asking(client: Client) -> None:
        event = crowd.track("customer-1", "message-1", "Product Viewed", crowd.product(WORLD, WORLD.offers[0]))
        assert await client.send([event]) == "t-1"
        assert client.refusals == 1

    server.ask(asking)
    assert server.bodies[0] == server.bodies[1]
    assert b'"messageId":"message-1"' in server.bodies[0]


def test_the_client_says_that_nobody_listens() -> None:
    async def asking() -> None:
        with pytest.raises(ServiceError, match="/ready"):
            await Client("http://127.0.0.1:1").request("GET", "/ready")
        assert not await Client("http://127.0.0.1:1").is_ready()

    asyncio.run(asking())
