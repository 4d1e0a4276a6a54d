"""One visitor's session: what they look at, which pages ask for a decision, what they click.

Pure, and without input or output: a generator that yields pages and is sent what was shown, so that the same visits can
be played over HTTP and in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.simulation.world import ATTENTION, best_slate, click_probabilities, uniform_slate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from training.simulation.world import Counts, Floats, World

    Shown = Mapping[str, Sequence[int]]
    """Placement -> the offers that were shown there, first first."""
    Visit = Generator["Page", Shown, None]
    Policy = Callable[["Page", str], Sequence[int]]


class Happening(msgspec.Struct, frozen=True):
    """One thing that the visitor did. `placement` and `position` are set where it concerns what a decision showed."""

    event: str
    offer: int
    placement: str | None = None
    position: int = 0


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What one placement of one page came to; expectations are of the number of clicks."""

    placement: str
    clicks: int
    expected: float
    best: float
    uniform: float


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page that asks for a decision, or (no placements) the end of the visit."""

    customer: int
    happenings: tuple[Happening, ...]
    """Since the page before; those with a placement belong to that page's decision."""
    placements: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    """Of the page before."""
    probabilities: Floats
    """Of every offer now, at full attention: hidden from any policy but the oracle."""


def visit(world: World, customer: int, seen: Counts, generator: np.random.Generator, pages: int = 4) -> Visit:
    """A session of `pages` pages. `seen` (this customer's exposures by offer) is updated in place."""
    nature = world.nature
    interest = np.zeros(len(world.categories))
    tastes = world.tastes[customer]
    drawn = tastes
    if generator.random() < nature.mood:
        drawn = 0.2 * tastes
        drawn[generator.integers(len(tastes))] += 0.8
    steps = np.cumsum(drawn)[:-1]
    happenings: list[Happening] = []
    judgements: tuple[Judgement, ...] = ()
    for _ in range(pages):
        for _ in range(generator.integers(1, 4)):
            shelf = world.shelves[int(np.searchsorted(steps, generator.random()))]
            offer = shelf[int(generator.integers(len(shelf)))]
            happenings.append(Happening("Product Viewed", offer))
            _look(world, interest, offer)
        placements = ("home-hero", "home-grid") if generator.random() < 0.4 else ("home-hero",)
        probabilities = click_probabilities(world, customer, interest, seen)
        shown = yield Page(
            customer=customer,
            happenings=tuple(happenings),
            placements=placements,
            judgements=judgements,
            probabilities=probabilities,
        )
        happenings = []
        judgements = tuple(
            _react(placement, offers, probabilities, happenings, generator) for placement, offers in shown.items()
        )
        for offers in shown.values():
            seen[np.asarray(offers, np.int64)] += 1
        for happening in [each for each in happenings if each.event == "Promotion Clicked"]:
            _follow(happening.offer, happenings, generator)
            _look(world, interest, happening.offer)
    yield Page(
        customer=customer,
        happenings=tuple(happenings),
        placements=(),
        judgements=judgements,
        probabilities=click_probabilities(world, customer, interest, seen),
    )


def play(
    world: World, customers: Sequence[int], policy: Policy, seen: Counts, generator: np.random.Generator
) -> list[Judgement]:
    """One visit of each of `customers` in memory, with `policy` in the service's place.

    Updates `seen` (customers x offers).
    """
    judgements: list[Judgement] = []
    for customer in customers:
        visitor = visit(world, customer, seen[customer], generator)
        page = next(visitor)
        while page.placements:
            shown: dict[str, list[int]] = {}
            for placement in page.placements:
                taken = {offer for offers in shown.values() for offer in offers}
                ranked = [offer for offer in policy(page, placement) if offer not in taken]
                shown[placement] = ranked[: len(ATTENTION[placement])]
            page = visitor.send(shown)
            judgements.extend(page.judgements)
    return judgements


def oracle(page: Page, placement: str) -> Sequence[int]:  # noqa: ARG001 - a policy sees the placement
    """The policy that knows what no service can know."""
    return [int(offer) for offer in np.argsort(-page.probabilities, kind="stable")]


def _look(world: World, interest: Floats, offer: int) -> None:
    interest *= world.nature.fading
    interest[world.category_of[offer]] += 1.0 - world.nature.fading


def _react(
    placement: str,
    offers: Sequence[int],
    probabilities: Floats,
    happenings: list[Happening],
    generator: np.random.Generator,
) -> Judgement:
    attention = ATTENTION[placement]
    expected = probabilities[np.asarray(offers, np.int64)] * np.asarray(attention[: len(offers)])
    clicked = generator.random(len(offers)) < expected
    happenings.extend(
        Happening("Promotion Viewed", offer, placement, position) for position, offer in enumerate(offers, start=1)
    )
    happenings.extend(
        Happening("Promotion Clicked", offer, placement, position)
        for position, (offer, click) in enumerate(zip(offers, clicked, strict=True), start=1)
        if click
    )
    return Judgement(
        placement=placement,
        clicks=int(clicked.sum()),
        expected=float(expected.sum()),
        best=best_slate(probabilities, attention),
        uniform=uniform_slate(probabilities, attention),
    )


def _follow(offer: int, happenings: list[Happening], generator: np.random.Generator) -> None:
    """Where a click leads: to the product's page, sometimes into the cart, sometimes on to an order."""
    happenings.append(Happening("Product Viewed", offer))
    if generator.random() < 0.25:
        happenings.append(Happening("Product Added", offer))
        if generator.random() < 0.5:
            happenings.append(Happening("Order Completed", offer))
