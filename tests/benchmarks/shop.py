"""Kairos as a subject: a home with a catalog, customers with a past, a model of the promised size, and `kairos up`."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np

from features.home import Home
from features.occupancy import read_run
from models.bundle import CHAMPION, DEFAULT_NAME, Calibration, Description, save, write_alias
from models.signature import Feature, Signature, fillable
from tests.benchmarks import processes, workload
from tests.benchmarks.processes import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CATEGORIES = ["kitchen", "garden", "books", "toys", "music", "travel", "sports", "clothes"]
EVENTS_PER_CUSTOMER = 10
BATCH = 100


RULES = [
    "features.customer__product_viewed__count_1d >= 0.0",
    "context.device == 'mobile'",
    "!has(traits.plan) || traits.plan == 'gold'",
    "placement == 'home-governed' && features.customer__any__recency > 0.0",
]


def catalog(candidates: int = workload.CANDIDATES) -> dict[str, Any]:
    """One placement with that many candidates, and one with as many that are governed."""
    draw = random.Random(workload.SEED)
    free = [candidate(workload.candidate(number), number, draw) for number in range(candidates)]
    bound = [candidate(workload.governed(number), number, draw) for number in range(candidates)]
    for number, one in enumerate(bound):
        one["placements"] = [workload.GOVERNED]
        if number:  # the first is the placement's default
            one |= {"rule": RULES[number % len(RULES)], "not_if_bought_within": "30d"}
    for one in free:
        one["placements"] = [workload.PLACEMENT]
    shared = {"limit": workload.LIMIT, "exploration": 0.05, "shortlist": candidates}
    scope = {"placements": [workload.GOVERNED]}
    return {
        "currency": "EUR",
        "time_zone": "UTC",
        "placements": [
            {"id": workload.PLACEMENT, "default": workload.candidate(0), **shared},
            {"id": workload.GOVERNED, "default": workload.governed(0), "at_most": {"category": 2}, **shared},
        ],
        "candidates": [*free, *bound],
        "caps": [
            {"id": "each", "per": ["customer", "candidate"], "limit": 1000, "period": "1h", "scope": scope},
            {"id": "category", "per": ["customer", "category"], "limit": 10_000, "period": "1h", "scope": scope},
        ],
        "budgets": [{"id": "all", "limit": 1_000_000_000, "period": "1d", "scope": scope}],
    }


def candidate(name: str, number: int, draw: random.Random) -> dict[str, Any]:
    return {
        "id": name,
        "kind": "offer",
        "title": f"Offer {number}",
        "category": CATEGORIES[number % len(CATEGORIES)],
        "price": round(draw.uniform(5, 200), 2),
        "value": round(draw.uniform(1, 20), 2),
        "weight": 1.0,
        "content": {"title": f"Offer {number}", "cta": "Look inside"},
    }


def event(customer: str, message_id: str, draw: random.Random) -> dict[str, Any]:
    """A track event as a website sends it."""
    name, product = (
        draw.choice(["Product Viewed", "Product Viewed", "Product Added"]),
        draw.randrange(workload.CANDIDATES),
    )
    properties = {
        "product_id": workload.candidate(product),
        "category": CATEGORIES[product % len(CATEGORIES)],
        "price": round(draw.uniform(5, 200), 2),
    }
    return {"type": "track", "messageId": message_id, "userId": customer, "event": name, "properties": properties}


def events(count: int, series: str, prefix: str = "c-") -> list[str]:
    """Bodies for `/v1/track`, each with a message id of its own."""
    draw = random.Random(f"{workload.SEED}-{series}")
    return [
        json.dumps(event(f"{prefix}{draw.randrange(workload.CUSTOMERS)}", f"{series}-{number}", draw))
        for number in range(count)
    ]


def canaries(count: int, series: str) -> tuple[list[str], list[str]]:
    """Track calls and decision requests of as many customers of their own, in the same order."""
    draw = random.Random(f"{workload.SEED}-{series}")
    names = [f"{series}-{number}" for number in range(count)]
    tracked = [json.dumps(event(name, f"{name}-event", draw)) for name in names]
    return tracked, [workload.decision(name) for name in names]


def column(feature: Feature, draw: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Values of about the shape that the feature has in life: mostly zero counts, ages in seconds, shares, codes."""
    rows = workload.ROWS
    if feature.kind == "category":
        return draw.integers(0, len(feature.categories), rows).astype(np.float64)
    if feature.name.endswith(("recency", "since", "first_seen")):
        values = draw.exponential(100_000, rows)
        values[draw.random(rows) < 0.3] = np.nan
        return values
    values = draw.random(rows) if "share" in feature.name or "rate" in feature.name else draw.exponential(2, rows)
    return np.where(draw.random(rows) < 0.3, 0.0, values)


def signature() -> Signature:
    """As many of Kairos' own features as the others' models have, spread over all of them."""
    known = list(fillable().items())
    names = [known[place] for place in np.linspace(0, len(known) - 1, workload.FEATURES).round().astype(int)]
    categories = (*CATEGORIES, *(workload.candidate(number) for number in range(workload.CANDIDATES)))
    kinds = [(name, kind, categories if kind == "category" else ()) for name, kind in names]
    return Signature(tuple(Feature(name, kind, known_as) for name, kind, known_as in kinds))


def publish(home: Home, document: dict[str, Any]) -> None:
    """The catalog, and a model of the promised size as champion."""
    wanted = signature()
    draw = np.random.default_rng(workload.SEED)
    features = np.column_stack([column(feature, draw) for feature in wanted.features])
    description = Description(
        name=DEFAULT_NAME,
        version="1",
        reward="click",
        labels="logged",
        signature=wanted,
        calibration=Calibration(raw=(-10.0, 10.0), probability=(0.0, 1.0)),
    )
    home.root.mkdir(parents=True)
    home.catalog.write_text(json.dumps(document))  # JSON is YAML
    save(home.bundles / DEFAULT_NAME / "1", description, workload.grow(wanted.names, features, wanted.categorical))
    write_alias(home.bundles, DEFAULT_NAME, CHAMPION, "1")


def send(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """A POST of JSON; HTTPError for what is refused."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # our own server
        found: dict[str, Any] = json.load(answer)
        return found


def fill(url: str, names: list[str], series: str = "past") -> None:
    """An event of each of these customers, in turn, through the API, until they are in the features."""
    draw = random.Random(workload.SEED)
    token = ""
    for start in range(0, len(names), BATCH):
        batch = [event(name, f"{series}-{start + n}", draw) for n, name in enumerate(names[start : start + BATCH])]
        token = send(f"{url}/v1/batch", {"batch": batch})["token"]
    ask = json.loads(workload.decision(names[0])) | {"after": token, "deadline_ms": 10_000}
    for _ in range(20):
        if send(f"{url}/v1/decisions", ask)["took_ms"] < 5_000:
            return
    raise RuntimeError("the worker did not take up the customers' past")


@contextlib.contextmanager
def open_shop(
    folder: Path, workers: int, say: Callable[[str], None], document: dict[str, Any] | None = None
) -> Iterator[tuple[Address, str]]:
    """`kairos up` on a new home, with `catalog()` or another document; gives the API's address and Redis' URL."""
    home = Home(folder / "home")
    publish(home, document or catalog())
    command = [sys.executable, "-m", "kairos", "up", "--home", str(home.root), "--port", "0", "--workers", str(workers)]

    def ready() -> bool:
        run = read_run(home)
        return run is not None and bool(processes.read(f"{run.api_url}/ready"))

    say("kairos: starting")
    with processes.running(command, folder / "kairos.log", {}, ready) as process:
        run = read_run(home)
        if run is None:
            raise RuntimeError("kairos is ready and has no run file")
        say(f"kairos: {workload.CUSTOMERS * EVENTS_PER_CUSTOMER} events of {workload.CUSTOMERS} customers")
        fill(run.api_url, [workload.customer(number) for number in range(workload.CUSTOMERS)] * EVENTS_PER_CUSTOMER)
        yield Address(url=run.api_url, process=process), run.redis_url
