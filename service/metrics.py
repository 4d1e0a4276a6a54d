"""The Prometheus metrics, by name. Several API processes share them through files (PROMETHEUS_MULTIPROC_DIR)."""

from __future__ import annotations

import contextlib
import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.registry import REGISTRY, Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from features.home import Home
    from service.decisions.choose import Chosen

HEALTH_AGE = "kairos_model_health_age_seconds"
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
LATENCY = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
SCORING = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)
DISTANCE = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
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
MODEL_SWAP_SECONDS = Histogram(
    "kairos_model_swap_seconds",
    "From an alias being moved to the version serving in a process, loaded and warmed up.",
    buckets=(0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
MODEL_DECISIONS = Counter(
    "kairos_model_decisions_total",
    "Placements filled, by the version that scored (none on lower rungs) and the rung.",
    ["model", "rung"],
)
MODEL_SECONDS = Histogram(
    "kairos_model_decision_seconds",
    "Time from request to answer, by the version that scored.",
    ["model"],
    buckets=LATENCY,
)
MODEL_FAILURES = Counter("kairos_model_failures_total", "Decisions made without a model because one failed in scoring.")
SHADOWED = Counter(
    "kairos_shadow_decisions_total",
    "Placements that a challenger scored beside the champion, by whether both put the same first; dropped, failed.",
    ["challenger", "outcome"],
)
SHADOW_SECONDS = Histogram(
    "kairos_shadow_seconds", "Time that the challenger took to score a placement.", ["challenger"], buckets=SCORING
)
SHADOW_DISTANCE = Histogram(
    "kairos_shadow_distance",
    "Mean size of the difference between the challenger's and the champion's propensities.",
    ["challenger"],
    buckets=DISTANCE,
)
SHADOW_PROPENSITY = Counter(
    "kairos_shadow_propensity_total", "Sum of mean propensities of placements, of either one.", ["challenger", "of"]
)
SPILLED = Counter(
    "kairos_decisions_spilled_total", "Decisions kept on disk while Redis was away, by outcome.", ["outcome"]
)
REFUSED = Counter("kairos_refused_total", "Catalogs and models refused.", ["part"])
UNVALUED = Counter(
    "kairos_unvalued_total", "Placements filled by the catalog's values because the model that was to say them has none"
)
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


def count_decision(chosen: Chosen, seconds: float) -> None:
    """A decision that was answered, by rung and by the versions that scored its placements, and what failed in it."""
    DECISIONS.labels(chosen.rung).inc()
    DECISION_SECONDS.observe(seconds)
    for use, count in chosen.failures.items():
        EXPRESSION_ERRORS.labels(use).inc(count)
    for slate in chosen.slates:
        label = "none" if slate.bundle is None else slate.bundle.label
        placements, times = _of_version(label, slate.rung)
        placements.inc()
        times.observe(seconds)


@lru_cache(maxsize=256)
def _of_version(label: str, rung: str) -> tuple[Counter, Histogram]:
    """Looked up once: that costs more than counting."""
    return MODEL_DECISIONS.labels(label, rung), MODEL_SECONDS.labels(label)


def render(home: Home | None = None) -> bytes:
    """All metrics in Prometheus' text format, of all processes where they share a folder; of a home, also what was last
    found of its models' health, with the time of that.
    """
    own = generate_latest(REGISTRY) if DIRECTORY not in os.environ else generate_latest(_Ours())
    return own if home is None else own + read_health(home)


def read_health(home: Home) -> bytes:
    """What `kairos models health` wrote last, of each model; empty without."""
    families: dict[str, list[str]] = {}
    for path in sorted(home.health.glob("*.prom")):
        with contextlib.suppress(OSError):  # replaced or removed meanwhile: the next scrape has it
            age = max(time.time() - path.stat().st_mtime, 0.0)
            lines = [f"# TYPE {HEALTH_AGE} gauge", f'{HEALTH_AGE}{{model="{path.stem}"}} {age:.0f}']
            for line in (*lines, *path.read_text().splitlines()):
                name = line.split()[2] if line.startswith("#") else line.partition("{")[0]
                known = families.setdefault(name, [])
                if line not in known[:1]:  # a family is announced once, and stands together
                    known.append(line)
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()


class _Ours(Collector):
    """Kairos' metrics of all processes; Feast brings some of its own that say nothing here."""

    def collect(self) -> Iterator[Metric]:
        shared = multiprocess.MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]  # untyped
        everything: Iterator[Metric] = shared.collect()  # type: ignore[no-untyped-call]  # untyped too
        return (metric for metric in everything if metric.name.startswith("kairos_"))
