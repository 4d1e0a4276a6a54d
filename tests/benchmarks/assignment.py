"""How evenly and how fast units are assigned: a million units in a hundred layers, fifty experiments on one page.

Run as `python tests/benchmarks/assignment.py`; takes about a minute.
"""

from __future__ import annotations

import copy
import itertools
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from service.catalog.compiled import compile_catalog
from service.catalog.schema import Catalog
from service.experiments.assignment import Units, assign, concerning
from service.experiments.hashing import codes, fall, fnv32a
from tests.service import shop

UNITS, LAYERS = 1_000_000, 100
EXPERIMENTS = (1, 10, 50)
ROUNDS = 5_000


def spread() -> tuple[float, float]:
    """(of layers, of pairs of layers) the p-value of Kolmogorov and Smirnov that their chi-squares are chance's."""
    states = np.array([fnv32a(f"layer-{number}") for number in range(LAYERS)])
    buckets, one = np.empty((LAYERS, UNITS), np.int16), np.empty(LAYERS, np.int64)
    for number in range(UNITS):
        fall(states, codes(f"customer-{number}"), one)
        buckets[:, number] = one
    even = [stats.chisquare(np.bincount(layer, minlength=10_000)).pvalue for layer in buckets]
    tens = buckets // 1000
    pairs = itertools.islice(itertools.combinations(range(LAYERS), 2), 0, None, 25)
    apart = []
    for left, right in pairs:
        counts = np.bincount(tens[left] * 10 + tens[right], minlength=100).reshape(10, 10)
        apart.append(stats.chi2_contingency(counts).pvalue)
    return stats.kstest(even, "uniform").pvalue, stats.kstest(apart, "uniform").pvalue


def seconds(count: int) -> float:
    """Of the processor, for the variants of one decision with so many running experiments, all on its page."""
    running = [
        {"id": f"experiment-{number}", "status": "running", "variants": [{"id": "a"}, {"id": "b"}]}
        for number in range(count)
    ]
    document = copy.deepcopy(shop.CATALOG) | {"experiments": running, "holdout": {"share": 0.05}}
    table = compile_catalog(Catalog.model_validate(document), "v").experiments
    concerns = concerning(["calm", "grid"])
    began = time.process_time()
    for number in range(ROUNDS):
        assign(table, Units(f"customer-{number}"), 0, concerns, {}, lambda _: True)
    return (time.process_time() - began) / ROUNDS


if __name__ == "__main__":
    for count in EXPERIMENTS:
        cost = seconds(count) * 1e6
        print(f"{count:3d} running experiments: {cost:6.1f} us a decision, {cost / count:5.1f} us an experiment")
    even, apart = spread()
    print(f"{UNITS:,} units in {LAYERS} layers: uniform p = {even:.3f}, independent p = {apart:.3f}")
