"""What the measurements say: percentiles, rates, ratios, and the bars that stand beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

if TYPE_CHECKING:
    from tests.benchmarks.plan import Sample

POINTS = [*range(100), 99.5, 99.9]
"""Percentiles kept for the plot."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One subject in one section. Latencies in milliseconds, NaN where nothing was answered."""

    section: str
    subject: str
    count: int
    p50: float
    p95: float
    p99: float
    per_second: float
    failures: dict[str, int] = {}
    spread: tuple[float, float] | None = None
    """Slowest and fastest turn, answers a second; what the machine's noise did to `per_second`."""
    processor_ms: float | None = None
    """Processor time of the server's processes an answer; Kairos' include Redis and the worker, others' do not."""
    late_p99: float | None = None
    """How late the load itself was, p99; open loop only."""
    curve: list[float] = []
    note: str = ""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A promise and what was measured of it."""

    name: str
    measured: float
    limit: float
    side: Literal["at most", "at least"]
    unit: str

    @property
    def met(self) -> bool:
        return self.measured <= self.limit if self.side == "at most" else self.measured >= self.limit


class Section(msgspec.Struct, kw_only=True):
    """One measurement: its rows, its bars, and a sentence on how it was measured."""

    title: str
    method: str
    rows: list[Row]
    bars: list[Bar] = []
    others: float = float("nan")
    """Processors that other programs kept busy meanwhile; figures of a section with much of it are theirs too."""


def percentile(values: list[float], point: float) -> float:
    return float(np.percentile(values, point)) if values else float("nan")


def summarise(section: str, samples: list[Sample], note: str = "") -> Row:
    """One row of the samples of one subject, taken in several runs or in one."""
    latencies = [value for sample in samples for value in sample.latencies]
    lateness = [value for sample in samples for value in sample.lateness]
    seconds = sum(sample.seconds for sample in samples)
    failures: dict[str, int] = {}
    for sample in samples:
        for reason, count in sample.failures.items():
            failures[reason] = failures.get(reason, 0) + count
    first = next((sample.first_failure for sample in samples if sample.first_failure), "")
    return Row(
        section=section,
        subject=samples[0].name,
        count=len(latencies),
        p50=percentile(latencies, 50),
        p95=percentile(latencies, 95),
        p99=percentile(latencies, 99),
        per_second=(len(latencies) - failures.get("unexpected", 0)) / seconds if seconds else float("nan"),
        failures=failures,
        late_p99=percentile(lateness, 99) if lateness else None,
        curve=[percentile(latencies, point) for point in POINTS] if latencies else [],
        note=" ".join(part for part in (note, first) if part),
    )
