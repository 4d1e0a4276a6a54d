"""One new visitor, closely: what the page shows after a first look, and after some more in another category."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from training.simulation import crowd
from training.simulation.catalog import STEADY
from training.simulation.world import ATTENTION

if TYPE_CHECKING:
    from training.simulation.client import Client, Decision
    from training.simulation.world import World

VISITOR = "visitor-one"


class Looks(msgspec.Struct, frozen=True):
    """Clicks on the first `count` products of a category."""

    category: str
    count: int


FIRST, THEN = Looks("books", 1), Looks("cameras", 3)


async def show(client: Client, world: World, looks: Looks) -> Decision:
    """Send the visitor's looks, then decide with the champion alone, explained, once the features hold them all."""
    shelf = world.shelves[world.categories.index(looks.category)][: looks.count]
    products = [crowd.product(world, world.offers[offer]) for offer in shelf]
    events = [
        crowd.track(VISITOR, f"{VISITOR}-{product['product_id']}", "Product Viewed", product) for product in products
    ]
    token = await client.send(events)
    return await client.decide(crowd.ask(VISITOR, list(ATTENTION), STEADY, after=token, explain=True))
