"""The stack that a user would write instead: FastAPI, Feast's `get_online_features` for customer x offers, LightGBM.

Written with care where care is cheap: a feature service, a registry that is not reloaded, no data frame on the way, one
thread a predict. Run as a program it makes the feature repository and writes the features.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lightgbm
import numpy as np
import pandas as pd
from fastapi import FastAPI
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64
from pydantic import BaseModel

from tests.benchmarks import workload

OFFERS = [workload.candidate(number) for number in range(workload.CANDIDATES)]


class Ask(BaseModel):
    customer_id: str
    placements: list[dict[str, Any]]
    context: dict[str, Any]


def open_store(folder: Path, redis_url: str) -> FeatureStore:
    parts = urlsplit(redis_url)
    secret = f",password={parts.password}" if parts.password else ""
    return FeatureStore(
        config=RepoConfig(
            project="rival",
            provider="local",
            registry={"path": str(folder / "rival.db"), "cache_ttl_seconds": 0},
            online_store={"type": "redis", "connection_string": f"{parts.hostname}:{parts.port}{secret}"},
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        ),
    )


def view(name: str, entity: Entity, names: list[str], folder: Path) -> FeatureView:
    source = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
    schema = [Field(name=feature, dtype=Float64) for feature in names]
    return FeatureView(name=name, entities=[entity], schema=schema, source=source)


def frame(key: str, ids: list[str], names: list[str], seed: int) -> pd.DataFrame:
    data = pd.DataFrame(workload.table(len(ids), len(names), seed), columns=names)
    data[key] = ids
    data["event_timestamp"] = datetime.now(UTC)
    return data


def prepare(folder: Path, redis_url: str) -> None:
    """Applies the repository and writes every customer and offer to the online store."""
    store = open_store(folder, redis_url)
    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
    offer = Entity(name="offer", join_keys=["offer"], value_type=ValueType.STRING)
    customers = [workload.customer(number) for number in range(workload.CUSTOMERS)]
    frames = {
        "rival_customers": frame("customer", customers, workload.CUSTOMER_NAMES, workload.SEED + 2),
        "rival_offers": frame("offer", OFFERS, workload.CANDIDATE_NAMES, workload.SEED + 3),
    }
    for name, data in frames.items():
        data.to_parquet(folder / f"{name}.parquet")
    views = [
        view("rival_customers", customer, workload.CUSTOMER_NAMES, folder),
        view("rival_offers", offer, workload.CANDIDATE_NAMES, folder),
    ]
    store.apply([customer, offer, *views, FeatureService(name="ranking", features=views)])  # type: ignore[arg-type]  # invariant list
    for name, data in frames.items():
        store.write_to_online_store(name, df=data)


@cache
def parts() -> tuple[FeatureStore, FeatureService, lightgbm.Booster]:
    store = open_store(Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_REDIS_URL"])
    return store, store.get_feature_service("ranking"), lightgbm.Booster(model_file=os.environ["BENCH_MODEL"])


app = FastAPI()


@app.get("/pid")
def pid() -> str:
    parts()
    return str(os.getpid())


@app.post("/decisions")
def decide(ask: Ask) -> dict[str, Any]:
    store, service, model = parts()
    rows = [{"customer": ask.customer_id, "offer": offer} for offer in OFFERS]
    features = store.get_online_features(features=service, entity_rows=rows).to_dict()
    matrix = np.column_stack([features[name] for name in [*workload.CUSTOMER_NAMES, *workload.CANDIDATE_NAMES]])
    return rank(model, matrix, ask)


@app.post("/decisions-in-two-calls")
def decide_in_two_calls(ask: Ask) -> dict[str, Any]:
    """The stack of a user who noticed that one call repeats the customer's features for every offer."""
    store, _, model = parts()
    of_customer = [f"rival_customers:{name}" for name in workload.CUSTOMER_NAMES]
    of_offer = [f"rival_offers:{name}" for name in workload.CANDIDATE_NAMES]
    customer = store.get_online_features(of_customer, [{"customer": ask.customer_id}]).to_dict()
    offers = store.get_online_features(of_offer, [{"offer": offer} for offer in OFFERS]).to_dict()
    repeated = [np.full(len(OFFERS), customer[name][0]) for name in workload.CUSTOMER_NAMES]
    matrix = np.column_stack([*repeated, *(offers[name] for name in workload.CANDIDATE_NAMES)])
    return rank(model, matrix, ask)


def rank(model: lightgbm.Booster, matrix: np.ndarray[tuple[int, int], np.dtype[Any]], ask: Ask) -> dict[str, Any]:
    scores = np.asarray(model.predict(matrix.astype(np.float64), num_threads=1))
    best = np.argsort(-scores)[: int(ask.placements[0]["limit"])]
    return {"items": [{"id": OFFERS[place], "score": float(scores[place])} for place in best]}


if __name__ == "__main__":
    prepare(Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_REDIS_URL"])
