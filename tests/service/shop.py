"""A small shop for the service's tests: its catalog, and models on the real signature."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import yaml

from models.bundle import CHAMPION, DEFAULT_NAME, Calibration, Description, save, write_alias
from models.signature import Feature, Signature, fillable

if TYPE_CHECKING:
    from features.home import Home

CATEGORIES = ("shoes", "hats", "coats")
OFFERS = [f"o-{number}" for number in range(12)]
CANDIDATES: list[dict[str, Any]] = [
    {
        "id": offer,
        "title": f"Offer {number}",
        "category": CATEGORIES[number % 3],
        "price": 10.0 + number,
        "value": 1.0 + number % 5,
        "content": {"cta": f"Take {offer}"},
    }
    for number, offer in enumerate(OFFERS)
]
CATALOG: dict[str, Any] = {
    "time_zone": "Europe/Berlin",
    "placements": [
        {"id": "calm", "limit": 1, "default": "o-0", "exploration": 0.0},
        {"id": "grid", "limit": 4, "default": "o-0", "exploration": 0.3},
        {"id": "pair", "limit": 5, "default": "o-3", "candidates": ["o-1", "o-2"], "exploration": 0.0},
    ],
    "candidates": CANDIDATES,
    "experiments": [
        {
            "id": "look",
            "variants": [
                {"id": "usual"},
                {"id": "uniform", "exploration": 1.0},
                {"id": "unmodelled", "model": "absent"},
                {"id": "challenger", "model": "challenger"},
            ],
        },
        {"id": "grid-only", "placements": ["grid"], "variants": [{"id": "uniform", "exploration": 1.0}]},
    ],
}
KNOWN = {
    "candidate__kind": ("offer", "content", "action"),
    "context__device": ("mobile", "desktop"),
    "context__placement": ("calm", "grid", "pair"),
}
REFUSED = "customer__horoscope__decayed_7d"
"""A feature that nobody can fill."""


def write_catalog(home: Home, document: dict[str, Any] = CATALOG) -> None:
    """Put a catalog in its place at once."""
    home.root.mkdir(parents=True, exist_ok=True)
    temporary = home.catalog.with_suffix(".new")
    temporary.write_text(yaml.safe_dump(document, sort_keys=False))
    temporary.replace(home.catalog)


@cache
def signature() -> Signature:
    """All features; what is not listed in KNOWN has the shop's categories or candidates."""
    return Signature(
        tuple(
            Feature(name, kind, KNOWN.get(name, (*CATEGORIES, *OFFERS)) if kind == "category" else ())
            for name, kind in fillable().items()
        )
    )


@cache
def grow(seed: int, trees: int = 40) -> str:
    """The text of a small model in which every feature may matter."""
    chance = np.random.default_rng(seed)
    features = signature().features
    columns = [
        chance.integers(0, len(feature.categories), 800).astype(float)
        if feature.kind == "category"
        else np.where(chance.random(800) < 0.3, 0.0, chance.exponential(2.0, 800))
        for feature in features
    ]
    matrix = np.column_stack(columns)
    taste = chance.normal(size=len(features))
    score = (matrix - matrix.mean(axis=0)) / (matrix.std(axis=0) + 1e-9) @ taste
    clicked = (score + chance.normal(size=800) > np.quantile(score, 0.7)).astype(float)
    parameters = {"objective": "binary", "num_leaves": 15, "verbose": -1, "num_threads": 1, "seed": seed}
    parameters |= {"feature_fraction": 0.3, "min_data_in_leaf": 5, "deterministic": True}
    names = signature().names
    data = lightgbm.Dataset(matrix, clicked, feature_name=names, categorical_feature=signature().categorical)
    text: str = lightgbm.train(parameters, data, trees).model_to_string()
    return text


def describe(version: str, of: Signature | None = None) -> Description:
    return Description(
        name=DEFAULT_NAME,
        version=version,
        reward="click",
        labels="logged",
        signature=of or signature(),
        calibration=Calibration(raw=(-6.0, -1.0, 0.0, 6.0), probability=(0.001, 0.05, 0.3, 0.95)),
    )


def publish(home: Home, version: str, alias: str | None = CHAMPION, of: Signature | None = None) -> None:
    """Save a model under a version, and point an alias at it."""
    save(home.bundles / DEFAULT_NAME / version, describe(version, of), grow(int(version)))
    if alias is not None:
        write_alias(home.bundles, DEFAULT_NAME, alias, version)
