"""The simulated shop: categories, offers, customers with hidden tastes, and every click probability in closed form.

Pure: every draw comes from a generator that is passed in, and nothing here reads a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

GOODS = {
    "shoes": ("Trail runner", "City sneaker", "Chelsea boot", "Canvas slip-on", "Hiking boot", "Leather loafer"),
    "jackets": ("Rain shell", "Down parka", "Denim jacket", "Wool coat", "Fleece vest", "Wind breaker"),
    "bags": ("Day pack", "Weekender", "Tote", "Messenger bag", "Hip bag", "Cabin case"),
    "watches": ("Diver", "Field watch", "Chronograph", "Dress watch", "Running watch", "Pocket watch"),
    "audio": ("Studio headphones", "Earbuds", "Shelf speaker", "Turntable", "Soundbar", "Travel radio"),
    "cameras": ("Instant camera", "Mirrorless body", "Prime lens", "Tripod", "Action camera", "Camera strap"),
    "books": ("Atlas", "Cookbook", "Crime novel", "Art catalogue", "Travel diary", "Field guide"),
    "garden": ("Herb kit", "Pruning shears", "Watering can", "Raised bed", "Fire bowl", "Hammock"),
}
"""Category -> the titles of its offers."""

ATTENTION = {"home-hero": (1.0,), "home-grid": (0.9, 0.8, 0.7, 0.6)}
"""Placement -> the factor on the click probability by position: the further down, the less it is looked at."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate of the shop; `appeal` is the hidden factor on its click probability."""

    id: str
    category: int
    title: str
    price: float
    appeal: float


class Nature(msgspec.Struct, frozen=True, kw_only=True):
    """What makes visitors click. A click's probability is

    appeal x (floor + taste x the customer's taste for the category + interest x this session's interest in it)
    x (tired + (1 - tired) x fatigue ^ times seen) x attention at the position.
    """

    floor: float = 0.01
    taste: float = 0.12
    interest: float = 0.17
    fatigue: float = 0.5
    tired: float = 0.6
    """What fatigue leaves of the probability, however often an offer was seen."""
    bargain: float = 0.25
    """How much a low price draws: the log appeal falls by this with each standard deviation of the log price."""
    appeal_spread: float = 0.08
    """Standard deviation of the rest of the log appeal, which nothing explains."""
    taste_concentration: float = 0.15
    """Of the Dirichlet distribution of tastes: the smaller, the more a customer cares for one category only."""
    mood: float = 0.35
    """Share of sessions in which a passing mood draws the visitor to a category that need not be theirs."""
    fading: float = 0.5
    """What one product view leaves of the interest that earlier views of the session raised."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The shop. Arrays are indexed by the position of a customer, an offer or a category."""

    nature: Nature
    categories: tuple[str, ...]
    offers: tuple[Offer, ...]
    customers: tuple[str, ...]
    tastes: Floats
    """customers x categories; a row sums to 1."""
    appeals: Floats
    category_of: Counts
    """Offer -> category."""
    shelves: tuple[tuple[int, ...], ...]
    """Category -> its offers."""
    index: dict[str, int]
    """Offer id -> its position in `offers`."""


def build(generator: np.random.Generator, customers: int = 2000, nature: Nature | None = None) -> World:
    nature = nature or Nature()
    categories = tuple(GOODS)
    offers = []
    for category, name in enumerate(categories):
        for number, title in enumerate(GOODS[name], start=1):
            dear, charm = generator.standard_normal(2)
            offers.append(
                Offer(
                    id=f"offer-{name}-{number}",
                    category=category,
                    title=title,
                    price=round(float(np.exp(4.0 + 0.5 * dear)), 2),
                    appeal=float(np.exp(nature.appeal_spread * charm - nature.bargain * dear)),
                )
            )
    return World(
        nature=nature,
        categories=categories,
        offers=tuple(offers),
        customers=tuple(f"customer-{number}" for number in range(1, customers + 1)),
        tastes=generator.dirichlet(np.full(len(categories), nature.taste_concentration), customers),
        appeals=np.array([offer.appeal for offer in offers]),
        category_of=np.array([offer.category for offer in offers], np.int64),
        shelves=tuple(
            tuple(position for position, offer in enumerate(offers) if offer.category == category)
            for category in range(len(categories))
        ),
        index={offer.id: position for position, offer in enumerate(offers)},
    )


def click_probabilities(world: World, customer: int, interest: Floats, seen: Counts) -> Floats:
    """Of every offer at full attention; `interest` is by category, 0 to 1, `seen` the customer's exposures by offer."""
    nature = world.nature
    drawn = nature.floor + nature.taste * world.tastes[customer] + nature.interest * interest
    freshness = nature.tired + (1.0 - nature.tired) * nature.fatigue**seen
    probabilities: Floats = np.minimum(1.0, world.appeals * drawn[world.category_of] * freshness)
    return probabilities


def best_slate(probabilities: Floats, attention: tuple[float, ...]) -> float:
    """The highest expected number of clicks that any pick of `len(attention)` different offers can have."""
    if len(attention) == 1:
        return float(probabilities.max()) * attention[0]
    return float(np.sort(probabilities)[::-1][: len(attention)] @ np.sort(attention)[::-1])


def uniform_slate(probabilities: Floats, attention: tuple[float, ...]) -> float:
    """The expected number of clicks of a pick at random."""
    return float(probabilities.mean() * sum(attention))
