"""What `kairos models health` shows, on the terminal and for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from training.health.examining import Drift, Health, State, Version

STYLES: dict[State, str] = {"ok": "green", "watch": "yellow", "act": "bold red"}
SHOWN = 12
STATES: tuple[State, ...] = ("ok", "watch", "act")
"""As a metric: 0, 1, 2."""
EXIT = 1
"""Of a model about which something is to be done."""


def show(console: Console, health: Health) -> int:
    """Print it; the exit code."""
    first, last, rows = health.before
    since, until, recent = health.now
    console.print(
        f"{health.label}: {recent:,} exposures of {since} to {until}, beside {rows:,} of {first} to {last}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(title="Drift", title_justify="left")
    for at, name in enumerate(("", "PSI", "by chance", "missing then", "now", "")):
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    moved = [it for it in health.features if it.state != "ok"]
    for drift in [health.scores, *(moved or health.features[:3])[:SHOWN]]:
        table.add_row(*_drift(drift))
    console.print(table)
    if len(moved) > SHOWN:
        console.print(f"and {len(moved) - SHOWN} more", highlight=False)
    console.print(
        f"{len(health.features) - len(moved)} of {len(health.features)} features are as they were", highlight=False
    )
    table = Table(title="What was served, its rewards known", title_justify="left")
    for at, name in enumerate(("", "exposures", "reward rate", "predicted / actual", "ECE", "")):
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    for version in health.versions:
        table.add_row(*_version(version))
    console.print(table)
    advice = {
        "ok": "nothing to do",
        "watch": "watch it",
        "act": "train again, or roll back: what the model sees or says is not what it was",
    }
    console.print(Text(advice[health.state], style=STYLES[health.state]))
    return EXIT if health.state == "act" else 0


def _drift(drift: Drift) -> tuple[str | Text, ...]:
    return (
        drift.name,
        f"{drift.index:.3f}",
        f"{drift.by_chance:.3f}",
        f"{drift.missing_before:.1%}",
        f"{drift.missing_now:.1%}",
        Text(drift.state, style=STYLES[drift.state]),
    )


def _version(version: Version) -> tuple[str | Text, ...]:
    rate, ratio = version.rate, version.ratio
    return (
        version.label,
        f"{version.exposures:,}",
        f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})",
        "" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        "" if version.ece is None else f"{version.ece:.4f}",
        Text(version.state, style=STYLES[version.state]),
    )


def expose(health: Health) -> str:
    """The figures in Prometheus' text format: for the service's /metrics, or the collector of a node exporter."""
    name = health.label.partition("/")[0]
    drifts, versions = (health.scores, *health.features), health.versions
    known = [it for it in versions if it.ratio is not None and np.isfinite(it.ratio.value)]
    families = {
        "kairos_model_health_state": [(float(STATES.index(health.state)), {"looked_at": health.label})],
        "kairos_model_psi": [(it.index, {"feature": it.name}) for it in drifts],
        "kairos_model_missing_ratio": [(it.missing_now, {"feature": it.name}) for it in health.features],
        "kairos_model_exposures": [(float(it.exposures), {"version": it.label}) for it in versions],
        "kairos_model_reward_ratio": [(it.rate.value, {"version": it.label}) for it in versions],
        "kairos_model_predicted_over_actual": [(it.ratio.value, {"version": it.label}) for it in known if it.ratio],
        "kairos_model_calibration_error": [(it.ece, {"version": it.label}) for it in versions if it.ece is not None],
    }
    lines = []
    for family, values in families.items():
        lines.append(f"# TYPE {family} gauge")
        lines += [_line(family, value, model=name, **labels) for value, labels in values]
    return "\n".join(lines) + "\n"


def _line(metric: str, value: float, **labels: str) -> str:
    quoted = {
        name: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, text in labels.items()
    }
    said = ",".join(f'{name}="{text}"' for name, text in quoted.items())
    return f"{metric}{{{said}}} {value:g}"
