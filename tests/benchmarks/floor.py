"""The floor, that no decision can be faster than: a Redis read, a LightGBM predict, an empty endpoint, and a bare path.

Run as a program it times the read and the predict alone; as an ASGI application it serves `/empty` and `/bare`.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np
import uvloop
from litestar import Litestar, get, post
from litestar.params import JSONBody  # noqa: TC002  # Litestar resolves annotations at run time
from redis import Redis
from redis import asyncio as redis_asyncio

from tests.benchmarks import workload

if TYPE_CHECKING:
    from collections.abc import Awaitable

KEY = "floor:{}"
FIELDS = [b"a", b"b", b"c"]
"""The row as a packed one: a few fields that hold ten doubles each."""


class Ask(msgspec.Struct):
    customer_id: str
    placements: list[dict[str, Any]]
    context: dict[str, Any]


def fill(url: str) -> None:
    """Writes the customers' rows."""
    rows = workload.table(workload.CUSTOMERS, workload.CUSTOMER_FEATURES, workload.SEED + 2)
    with Redis.from_url(url) as redis, redis.pipeline(transaction=False) as pipe:
        for number, row in enumerate(rows):
            parts = row.reshape(len(FIELDS), -1)
            mapping = {field: part.tobytes() for field, part in zip(FIELDS, parts, strict=True)}
            pipe.hset(KEY.format(workload.customer(number)), mapping=mapping)
        pipe.execute()


@cache
def booster() -> lightgbm.Booster:
    return lightgbm.Booster(model_file=os.environ["BENCH_MODEL"])


@cache
def matrix() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The candidates' features to the right of room for the customer's."""
    candidates = workload.table(workload.CANDIDATES, workload.CANDIDATE_FEATURES, workload.SEED + 3)
    return np.hstack([np.zeros((workload.CANDIDATES, workload.CUSTOMER_FEATURES)), candidates])


@cache
def store() -> redis_asyncio.Redis:
    return redis_asyncio.Redis.from_url(os.environ["BENCH_REDIS_URL"])


def score(row: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    data = matrix()
    data[:, : workload.CUSTOMER_FEATURES] = np.frombuffer(b"".join(row))
    scores: np.ndarray[tuple[int], np.dtype[np.float64]] = booster().predict(data, num_threads=1)  # type: ignore[assignment]
    return scores


def read(customer: str) -> Awaitable[list[bytes]]:
    return store().hmget(KEY.format(customer), FIELDS)  # type: ignore[return-value]  # redis types it as maybe-awaitable


@get("/pid")
async def pid() -> str:
    booster(), matrix()
    return str(os.getpid())


@post("/empty", status_code=200)
async def empty(data: JSONBody[Ask]) -> dict[str, str]:
    return {"customer": data.customer_id}


@post("/bare", status_code=200)
async def bare(data: JSONBody[Ask]) -> dict[str, Any]:
    scores = score(await read(data.customer_id))
    best = np.argsort(-scores)[: workload.LIMIT]
    return {"items": [{"id": workload.candidate(int(place)), "score": float(scores[place])} for place in best]}


app = Litestar([pid, empty, bare], openapi_config=None)


async def time_parts(count: int) -> dict[str, list[float]]:
    """Milliseconds of a read of one row and of a predict of 100 rows, in turn."""
    reads, predicts = [], []
    for number in range(count + 50):
        start = time.perf_counter()
        row = await read(workload.customer(number % workload.CUSTOMERS))
        middle = time.perf_counter()
        score(row)
        end = time.perf_counter()
        if number >= 50:
            reads.append((middle - start) * 1000)
            predicts.append((end - middle) * 1000)
    await store().aclose()
    return {"redis read": reads, "predict": predicts}


def main(arguments: list[str]) -> None:
    """`prepare` writes the rows; a number times that many reads and predicts, as JSON on standard output."""
    if arguments == ["prepare"]:
        fill(os.environ["BENCH_REDIS_URL"])
    else:
        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(time_parts(int(arguments[0])))))


if __name__ == "__main__":
    main(sys.argv[1:])
