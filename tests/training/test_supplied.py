"""Candidates that came with a request are learnt from as they were served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import history
from features.events.schema import Decision
from features.ids import digest
from features.store import open_store
from tests.training.archives import PRODUCTS, LiveShop, product, track, write
from training import logged, parts
from training.dataset import Source

if TYPE_CHECKING:
    from features.home import Home


def bring(home: Home) -> list[str]:
    """Decisions for two customers, each of which showed a candidate as its own request described it."""
    shop = LiveShop()
    shop.happen(track("c-1", shop.tick(1.0), "Product Viewed", product(3)))
    shop.take_snapshot()
    made = [shop.decide(customer, {"hero": [1], "grid": [2]}, []) for customer in ("c-1", "c-2", "c-3")]
    told = [{"price": 7.5, "category": "hammocks"}, {"price": 8.5, "value": 3.0, "kind": "content"}, None]
    for at, event in enumerate(shop.events):
        if isinstance(event, Decision):
            said = told[made.index(event.decision_id or "")]
            slots = list(event.placements)
            items = [*slots[1].items, msgspec.structs.replace(slots[1].items[0], id="brought", rank=2)]
            slots[1] = msgspec.structs.replace(slots[1], items=items)
            # What the catalog knows is described too, and stays what the catalog says.
            supplied = [] if said is None else [{"id": "brought", "attributes": said}, {"id": PRODUCTS[1]}]
            shop.events[at] = msgspec.structs.replace(event, placements=slots, supplied=supplied)
    for decision in made:
        for placement, name in (("hero", PRODUCTS[1]), ("grid", PRODUCTS[2]), ("grid", "brought")):
            properties = {"decision_id": decision, "placement": placement, "promotion_id": name}
            shop.happen(track("c-1", shop.tick(0.2), "Promotion Viewed", properties))
    shop.happen(track("nobody", shop.tick(3600.0), "Visit Ended", {}))
    write(home, shop.events, partition=0)
    return made


def test_what_a_request_said_of_a_candidate_is_its_attributes_there_and_nowhere_else(home: Home) -> None:
    bring(home)
    queries = logged.label(home)
    history.rebuild(home)
    (chunk,) = Source(home, open_store(home, "redis://127.0.0.1:6379")).read(queries)
    rows = [queries.candidates[at] for at in queries.candidate]
    brought = [at for at, name in enumerate(rows) if name == "brought"]
    assert len(brought) == 3
    features = {name: values[brought].tolist() for name, values in chunk.features.items()}
    assert features["candidate__price"][:2] == [7.5, 8.5]
    assert features["candidate__value"][:2] == [1.0, 3.0]
    assert features["candidate__category"][:2] == [float(digest("hammocks")), float(digest(""))]
    assert features["candidate__kind"][:2] == [float(digest("offer")), float(digest("content"))]
    assert np.isnan(features["candidate__price"][2])  # of the third nothing was ever said
    known = [at for at, name in enumerate(rows) if name == PRODUCTS[1]]
    assert chunk.features["candidate__price"][known].tolist() == [6.0] * 3


def test_its_category_is_one_that_a_model_may_know_and_parts_of_the_queries_keep_what_is_theirs(home: Home) -> None:
    bring(home)
    queries = logged.label(home)
    history.rebuild(home)
    signature = parts.describe(home, queries)
    categories = next(feature.categories for feature in signature.features if feature.name == "candidate__category")
    assert "hammocks" in categories
    second = queries.select(np.array(queries.customers) == "c-2")
    assert {brought["brought"]["price"] for brought in second.supplied.values()} == {8.5}
    assert max(second.supplied) < len(second)
