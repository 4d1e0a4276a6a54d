"""A sample of decisions of every kind, recorded with all they were made with: what the golden files hold."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features.aggregates.engine import Candidates, advance_candidates, advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack
from features.events.occurrences import Item, Occurrence, read
from features.events.schema import Attention, Decision, Track, encode
from features.ids import digest
from features.snapshots import Head
from features.store import Packed
from features.streaming import StoredRow
from models.bundle import load, save
from service.catalog.compiled import compile_catalog
from service.catalog.schema import Candidate, Catalog
from service.decisions import frame
from service.decisions.attention import spend
from service.decisions.choose import choose
from service.decisions.question import Question
from service.decisions.record import answer, record
from service.decisions.schema import AskedPlacement, DecisionRequest
from service.dialects.supplied import lay_over
from tests.service import shop

if TYPE_CHECKING:
    from pathlib import Path

    from features.aggregates.rows import Row

NOW = 1_800_000_000_000_000
HOUR = 3_600_000_000
DECISIONS = 60
CUSTOMERS = 6

GOVERNED: dict[str, Any] = copy.deepcopy(shop.CATALOG) | {
    "caps": [{"id": "daily", "per": ["customer", "candidate"], "limit": 2, "period": "1d"}],
    "budgets": [{"id": "hats", "limit": 15, "scope": {"categories": ["hats"]}}],
    "groups": [{"id": "few", "at_most": 2}],
}
GOVERNED["candidates"] = [
    candidate | extra
    for candidate, extra in zip(
        GOVERNED["candidates"],
        [
            {},
            {"rule": "features.customer__product_viewed__count_1d >= 1.0"},
            {"stock": 3},
            {},
            {"personal_window": "1h", "value": 30.0},
            {"group": "few"},
            {"group": "few", "value": "1.0 + features.customer__product_viewed__count_1d"},
            {"group": "few"},
            {"rule": "context.device == 'mobile'"},
            {"rule": "traits.age > 30"},
            {"not_if_bought_within": "30d"},
            {},
        ],
        strict=True,
    )
]
GOVERNED["placements"] = [
    *GOVERNED["placements"],
    {"id": "young", "limit": 3, "default": "o-0", "thompson": 1000, "floor": 0.02, "at_most": {"category": 1}},
    {"id": "tried", "default": "o-0", "apprentice": True},
]
SUPPLIED: list[dict[str, Any]] = [
    {"id": "o-1", "features": {"price": 3}},
    {"id": "brought", "attributes": {"price": 2.0, "category": "hats"}},
]
PAGES: list[list[dict[str, Any]]] = [
    [{"id": "grid", "limit": 6}, {"id": "calm", "candidates": ["o-2", "nowhere", "o-11", "o-4"]}, {"id": "pair"}],
    [{"id": "calm", "limit": 3}],
    [{"id": "pair"}, {"id": "grid"}],
    [{"id": "young"}, {"id": "tried"}],
]
BROUGHT: list[dict[str, Any]] = [{"id": "calm", "candidates": ["o-1", "brought", "o-5"]}]
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"device": "mobile", "timezone": "Asia/Tokyo", "page": {"path": "/ä"}},
    {"device": {"type": "desktop"}, "traits": {"age": 40}, "referrer": "https://example.com/"},
    {"traits": {"age": "old"}},
]
FLAGS: list[dict[str, str]] = [{}, {"look": "uniform"}, {"look": "unmodelled"}, {"grid-only": "uniform"}]
NAMES = ("Product Viewed", "Product Viewed", "Order Completed", "Promotion Viewed", "Promotion Clicked")


class Recorded(msgspec.Struct, frozen=True):
    """The snapshot that all decisions of the sample share: view -> rows."""

    head: Head
    rows: dict[str, list[StoredRow]]


def write(folder: Path) -> None:
    """Record the sample: `bundle/`, `catalog.json`, `snapshot.json`, and the decisions, one a line."""
    save(folder / "bundle", shop.describe("1"), shop.grow(1, 10))
    catalog = Catalog.model_validate(GOVERNED)
    (folder / "catalog.json").write_text(catalog.model_dump_json(exclude_defaults=True, by_alias=True))
    customers, recorded = _behave()
    (folder / "snapshot.json").write_bytes(msgspec.json.encode(recorded))
    framed, unread, brought = read_frames(folder)
    bundle, attention = load(folder / "bundle"), dict.fromkeys(range(CUSTOMERS), Attention())
    lines = []
    for number in range(DECISIONS):
        who, now = number % CUSTOMERS, NOW + number * HOUR // 7
        said = msgspec.structs.replace(
            attention[who], contended=number % 13 == 5, is_known=number % 13 != 7, used=attention[0].used
        )
        readable, inline = number % 11 != 4, [_viewed(number, now)] if number % 3 == 1 else []
        row = customers[who] if who else None
        over = unread if number % 17 == 9 else brought if number % 8 == 3 else framed
        page = BROUGHT if over is brought else PAGES[number % len(PAGES)]
        question = Question(
            decision_id=f"recorded-{number}",
            now=now,
            placements=[AskedPlacement(**asked) for asked in page],
            context=CONTEXTS[number % len(CONTEXTS)],
            flags=FLAGS[number // 2 % len(FLAGS)],
            state=_packed(row) if row is not None and readable else None,
            occurrences=[seen for event in inline if (seen := read(event)) is not None],
            frame=over,
            models={"champion": bundle},
            attention=said,
            is_readable=readable,
            late=frozenset(["grid"]) if number % 7 == 2 else frozenset(),
            rung="model" if readable else "prior",
        )
        chosen = choose(question)
        attention[who] = _see(spend(said, chosen.claims))
        attention[0] = msgspec.structs.replace(attention[0], used=attention[who].used)
        asked = DecisionRequest(placements=question.placements, customer_id=f"c-{who}")
        events: list[Any] = [*inline]
        lines.append(encode(record(question, chosen, answer(question, chosen, 0.0), asked, f"c-{who}", events)))
    (folder / "decisions.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def read_frames(folder: Path) -> tuple[frame.Frame, frame.Frame, frame.Frame]:
    """The frame of the recorded snapshot, the one before any snapshot was read, the one with what a request brought."""
    catalog = Catalog.model_validate_json((folder / "catalog.json").read_bytes())
    compiled = compile_catalog(catalog, "recorded")
    recorded = msgspec.json.decode((folder / "snapshot.json").read_bytes(), type=Recorded)
    rows = {view: {digest(row.text): row for row in stored} for view, stored in recorded.rows.items()}
    framed = frame.build(compiled, recorded.head, rows["candidate"], rows["successors"])
    own = [Candidate.model_validate({"id": one["id"], **one["attributes"]}) for one in SUPPLIED if "attributes" in one]
    stored = {"brought": recorded.rows["candidate"][0]}
    return framed, frame.build(compiled, None, {}, {}), lay_over(framed, own, stored, SUPPLIED)


def _behave() -> tuple[list[Row], Recorded]:
    """Customers who did this and that for ten days, and what candidates are after it."""
    chance, candidates = np.random.default_rng(7), Candidates()
    customers = [blank(LAYOUTS["customer"], f"c-{number}") for number in range(CUSTOMERS)]
    for number, ago in enumerate(sorted(chance.uniform(1.0, 240.0, 400), reverse=True)):
        row, arrival = customers[int(chance.integers(CUSTOMERS))], NOW - int(ago * HOUR)
        name, of = NAMES[number % len(NAMES)], int(chance.integers(12))
        category = digest(shop.CATEGORIES[of % 3])
        occurrence = Occurrence(name, arrival / 1e6, (Item(shop.OFFERS[of], digest(shop.OFFERS[of]), category),))
        advance_candidates(candidates, row, occurrence, arrival)
        advance_customer(row, occurrence)
        row.applied = arrival
    rows = {
        view: [StoredRow(row.text, row.applied, *pack(row)) for row in getattr(candidates, view).values()]
        for view in ("candidate", "successors")
    }
    return customers, Recorded(Head(41, NOW - HOUR), rows)


def _see(attention: Attention) -> Attention:
    """As if all that was answered had been seen at once; and o-4 first when anything was."""
    contacts = [[at, at, *rest] for at, _, *rest in attention.contacts]
    first = {digest("o-4"): contact[0] for contact in contacts[:1]}
    return msgspec.structs.replace(attention, contacts=contacts, first=first)


def _packed(row: Row) -> Packed:
    numbers, ids = pack(row)
    return Packed(row.applied, np.array(numbers), np.array(ids, np.int64))


def _viewed(number: int, now: int) -> Track:
    at = f"recorded-{number}#0"
    properties = {"product_id": shop.OFFERS[number % 12], "category": shop.CATEGORIES[number % 3]}
    return Track(message_id=at, customer="c", time=now, received=now, event="Product Viewed", properties=properties)


def read_decisions(folder: Path) -> list[Decision]:
    return [msgspec.json.decode(line, type=Decision) for line in (folder / "decisions.jsonl").read_bytes().splitlines()]
