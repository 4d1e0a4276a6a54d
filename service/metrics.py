"""The Prometheus metrics, by name. Several API processes share them through files (PROMETHEUS_MULTIPROC_DIR)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.registry import REGISTRY, Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
LATENCY = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
AGE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0)
FRESHNESS = (
    0.002,
    0.004,
    0.006,
    0.008,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)

DECISIONS = Counter("kairos_decisions_total", "Decisions answered, by rung.", ["rung"])
DECISION_SECONDS = Histogram("kairos_decision_seconds", "Time from request to answer.", buckets=LATENCY)
EVENTS = Counter("kairos_events_total", "Events taken in, by outcome.", ["outcome"])
PROCESSED = Counter("kairos_events_processed_total", "Events applied to features by the worker.")
EVENT_AGE = Histogram(
    "kairos_event_age_seconds", "From arrival of an event to its features being written.", buckets=AGE
)
STORE_ERRORS = Counter(
    "kairos_store_errors_total", "Reads and writes of Redis that failed or timed out.", ["operation"]
)
SPILLED = Counter(
    "kairos_decisions_spilled_total", "Decisions kept on disk while Redis was away, by outcome.", ["outcome"]
)
REFUSED = Counter("kairos_refused_total", "Catalogs and models refused.", ["part"])
EXPRESSION_ERRORS = Counter(
    "kairos_expression_errors_total", "Rules and values of the catalog that could not be evaluated.", ["use"]
)
CLAIMS = Counter("kairos_claims_total", "Reservations of attention, by outcome.", ["outcome"])
EXPIRED = Counter(
    "kairos_expired_total", "Rows read that were older than their view's TTL and counted as missing.", ["view"]
)
EVENT_TO_DECISION = Histogram(
    "kairos_event_to_decision_seconds",
    "From sending an event to a read by the decision path that shows it, by the canary customer.",
    buckets=FRESHNESS,
)
CANARY = Counter("kairos_canary_total", "Measurements of the canary customer, by outcome.", ["outcome"])
SNAPSHOT_AGE = Gauge("kairos_snapshot_age_seconds", "Age of the candidates' features.", multiprocess_mode="mostrecent")


def render() -> bytes:
    """All metrics in Prometheus' text format, of all processes where they share a folder."""
    if DIRECTORY not in os.environ:
        return generate_latest(REGISTRY)
    return generate_latest(_Ours())


class _Ours(Collector):
    """Kairos' metrics of all processes; Feast brings some of its own that say nothing here."""

    def collect(self) -> Iterator[Metric]:
        shared = multiprocess.MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]  # untyped
        everything: Iterator[Metric] = shared.collect()  # type: ignore[no-untyped-call]  # untyped too
        return (metric for metric in everything if metric.name.startswith("kairos_"))
