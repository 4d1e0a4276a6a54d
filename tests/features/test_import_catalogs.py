"""An import leaves a catalog that can serve, joins attributes with its history, and never takes a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from features import catalog_document, history
from features.events.schema import CatalogPublished
from features.store import open_store
from tests.features.imported import ORDERS, Row, archived, run, write

if TYPE_CHECKING:
    from pathlib import Path

    from features.home import Home


def orders(*items: tuple[str, str, float | None]) -> list[Row]:
    """One order a day: (day, item, price)."""
    return [
        {"who": "c", "when": f"2024-03-{day}", "number": f"n-{day}-{item}", "item": item, "price": price, "quantity": 1}
        for day, item, price in items
    ]


def published(home: Home) -> list[CatalogPublished]:
    return [event for _, _, event in archived(home) if isinstance(event, CatalogPublished)]


def document(home: Home) -> Any:
    return yaml.safe_load(home.catalog.read_text())


def test_items_become_candidates_with_their_latest_known_values(home: Home, tmp_path: Path) -> None:
    rows = orders(("02", "a", 3.0), ("01", "a", 2.0), ("03", "a", None), ("01", "b", 1e-7))
    summary = run(home, ORDERS, write(tmp_path / "a.parquet", rows))
    assert document(home) == {
        "currency": "EUR",
        "time_zone": "UTC",
        "placements": [{"id": "home-grid", "limit": 4, "default": "a", "shortlist": 1000}],
        "candidates": [
            {"id": "a", "kind": "offer", "title": "A", "price": 3.0},
            {"id": "b", "kind": "offer", "title": "B", "price": 1e-7},
        ],
    }
    assert (summary.candidates, summary.catalog, summary.published) == (2, home.catalog, True)


@pytest.mark.parametrize(
    "text",
    ["plain", "a: b", "'\"\\{}[]#,", "tab\tand\nline", "\x85\x7f\u2028\ufeff", "ö😀漢", "yes", "007", "null", "1e3"],
)
def test_any_text_survives_in_the_catalog(home: Home, tmp_path: Path, text: str) -> None:
    mapping = ORDERS.replace("title: upper(item)", "title: item")
    run(home, mapping, write(tmp_path / "a.parquet", orders(("01", text, 1.0))))
    assert document(home)["candidates"] == [{"id": text, "kind": "offer", "title": text, "price": 1.0}]
    assert document(home)["placements"][0]["default"] == text


def test_a_later_import_adds_candidates_and_an_earlier_one_does_not_set_values_back(home: Home, tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv", orders(("05", "a", 5.0), ("06", "c", 6.0)))
    old = write(tmp_path / "old.csv", orders(("01", "a", 1.0), ("02", "b", 2.0)))
    run(home, ORDERS, new)
    run(home, ORDERS, old)
    prices = {candidate["id"]: candidate["price"] for candidate in document(home)["candidates"]}
    assert prices == {"a": 5.0, "b": 2.0, "c": 6.0}
    assert [event.time for event in published(home)] == [1, 2]
    text = home.catalog.read_text()
    for file in (old, new):
        assert not run(home, ORDERS, file).is_new
    assert home.catalog.read_text() == text


def test_a_catalog_that_was_edited_stays_and_the_new_one_comes_beside_it(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", orders(("01", "a", 1.0)))
    run(home, ORDERS, file)
    home.catalog.write_text(home.catalog.read_text().replace("limit: 4", "limit: 5"))
    edited = home.catalog.read_text()
    summary = run(home, ORDERS, write(tmp_path / "b.csv", orders(("02", "b", 1.0))))
    assert home.catalog.read_text() == edited
    assert summary.catalog == home.root / "catalog.imported.yaml"
    assert [candidate["id"] for candidate in yaml.safe_load(summary.catalog.read_text())["candidates"]] == ["a", "b"]


def test_an_untouched_catalog_of_our_own_is_replaced(home: Home, tmp_path: Path) -> None:
    catalog_document.write(home, "a starter catalog\n", beside="never")
    run(home, ORDERS, write(tmp_path / "a.csv", orders(("01", "a", 1.0))))
    assert document(home)["candidates"][0]["id"] == "a"
    assert not (home.root / "never").exists()


def test_attributes_join_with_all_of_imported_history(home: Home, tmp_path: Path, redis_url: str) -> None:
    import pandas as pd

    mapping = ORDERS + "  category: concat('kind of ', item)\n"
    run(home, mapping, write(tmp_path / "a.csv", orders(("01", "a", 1.5))))
    history.rebuild(home)
    labels = pd.DataFrame({"candidate": ["a"], "event_timestamp": [pd.Timestamp("2024-02-01", tz="UTC")]})
    store = open_store(home, redis_url)
    joined = store.get_historical_features(labels, ["attributes:category", "attributes:price"]).to_df()
    assert joined[["category", "price"]].to_dict("records") == [{"category": "kind of a", "price": 1.5}]
