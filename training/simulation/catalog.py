"""The catalog of the simulated shop: its two placements, its offers, and the arms that the demo compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from training.simulation.world import ATTENTION

if TYPE_CHECKING:
    from training.simulation.world import World

EXPERIMENT = "demo"
UNIFORM, TRAINED, STEADY = "uniform", "trained", "steady"
"""Arms: picks at random; the champion with a little exploration; the champion alone, for looking at one visitor."""
CALLS = ("See it", "Find yours", "Have a look", "Discover", "Shop now", "Take it home")


def document(world: World) -> dict[str, Any]:
    """Every offer has the same value and weight: so priority is propensity, and the click rate the right measure."""
    return {
        "currency": "EUR",
        "time_zone": "UTC",
        "placements": [
            {"id": placement, "limit": len(attention), "default": world.offers[0].id, "exploration": 0.05}
            for placement, attention in ATTENTION.items()
        ],
        "candidates": [
            {
                "id": offer.id,
                "kind": "offer",
                "title": offer.title,
                "category": world.categories[offer.category],
                "price": offer.price,
                "value": 1.0,
                "content": {"title": offer.title, "cta": CALLS[position % len(CALLS)]},
            }
            for position, offer in enumerate(world.offers)
        ],
        "experiments": [
            {
                "id": EXPERIMENT,
                "variants": [
                    {"id": TRAINED, "model": "champion", "exploration": 0.02},
                    {"id": UNIFORM, "exploration": 1.0},
                    {"id": STEADY, "model": "champion", "exploration": 0.0},
                ],
            }
        ],
    }


def write(world: World) -> str:
    """The document as YAML."""
    return "# The shop of `kairos demo`: simulated.\n" + yaml.safe_dump(document(world), sort_keys=False)
