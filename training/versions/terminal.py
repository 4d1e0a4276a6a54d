"""What `kairos models` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from training.terminal import MARKS

if TYPE_CHECKING:
    from rich.console import Console

    from models.moves import Move
    from models.ramped import Guarded, Ramped
    from training.intervals import Interval
    from training.versions.comparing import Pair
    from training.versions.listing import Version

LISTED = {"ndcg_at_10": "NDCG@10", "auc": "AUC", "log_loss": "log loss", "predicted_over_actual": "pred / act"}


def tabulate(versions: list[Version]) -> Table:
    table = Table(header_style="bold", pad_edge=False)
    columns = {name: title for name, title in LISTED.items() if any(name in it.description.metrics for it in versions)}
    for heading in ("model", "", "alias", "trained"):
        table.add_column(heading, overflow="fold")
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("gates", no_wrap=True)
    for it in versions:
        described = it.description
        values = [f"{described.metrics[name]:.4f}" if name in described.metrics else "-" for name in columns]
        gates = f"[red]{len(it.failing)} fail{'s' * (len(it.failing) == 1)}[/]" if it.failing else "hold"
        table.add_row(
            escape(described.name),
            described.version,
            f"[bold green]{escape(', '.join(it.aliases))}[/]",
            described.trained[:10],
            *values,
            gates if it.is_judged else "-",
        )
    return table


def show(console: Console, version: Version, moves: list[Move], ramps: list[Ramped]) -> None:
    """One version: what it is, what it measured, what the gates and ramps said, and where its aliases were."""
    described = version.description
    learnt = " to ".join(described.window)
    lines = (
        (
            "model",
            f"{described.name} {described.version}" + (f", {', '.join(version.aliases)}" if version.aliases else ""),
        ),
        ("meaning", f"propensity of {described.reward!r}, {described.labels} labels"),
        ("learnt", f"from {learnt}, trained {described.trained}"),
        ("data", described.data_digest),
        ("run", described.run_id),
        ("features", str(len(described.signature.features))),
    )
    for name, text in lines:
        console.print(f"[bold]{name:<9}[/]{escape(text)}", highlight=False, soft_wrap=True)
    table = Table("metric", "value", "95 %", header_style="bold", pad_edge=False)
    for name, value in described.metrics.items():
        low, high = described.intervals.get(name, (math.nan, math.nan))
        table.add_row(name, f"{value:.4f}", "-" if math.isnan(low) else f"{low:.4f} to {high:.4f}")
    console.print(table)
    if described.gates:
        gates = Table("gate", "", "measured", "asked for", header_style="bold", pad_edge=False)
        for name, verdict in described.gates.items():
            word, style = MARKS[verdict["holds"]]
            gates.add_row(name, word, escape(verdict["figure"]), escape(verdict["bound"]), style=style)
        console.print(gates)
    for ramped in ramps:
        console.print(
            f"[bold]ramp[/]     {escape(ramped.outcome)} {ramped.ended}: {escape(ramped.reason)}", soft_wrap=True
        )
        console.print(tabulate_ramp(ramped))
    if moves:
        console.print(tabulate_moves(moves))


def tabulate_ramp(ramped: Ramped) -> Table:
    """Each step's guardrails: of the challenger, beside the champion; `by` is the difference's sequential interval."""
    table = Table(
        "share", "units", "guardrail", "challenger", "champion", "by", "", header_style="bold", pad_edge=False
    )
    for step in ramped.steps:
        for at, guard in enumerate(step.guards):
            share, units = ("", "") if at else (f"{step.share:.0%}", f"{step.units:,} / {step.beside:,}")
            table.add_row(share, units, guard.name, *_guard(guard))
    return table


def _guard(guard: Guarded) -> tuple[str, str, str, str]:
    challenger, champion = (
        "-" if value is None else f"{value:.2f} ms" if guard.name == "latency" else f"{value:.2%}"
        for value in (guard.challenger, guard.champion)
    )
    by = "-" if guard.low is None or guard.high is None else f"{guard.low:+.1%} to {guard.high:+.1%}"
    return challenger, champion, by, guard.state


def tabulate_moves(moves: list[Move]) -> Table:
    table = Table("when", "alias", "from", "to", "", "why", header_style="bold", pad_edge=False)
    for move in moves:
        table.add_row(move.time, move.alias, move.before or "-", move.version or "-", move.action, escape(move.reason))
    return table


def show_pair(console: Console, pair: Pair) -> None:
    """Figures side by side, then what importance moved between features."""
    left, right = pair.left, pair.right
    table = Table("", left.label, right.label, "difference", header_style="bold", pad_edge=False)
    for name, mine, theirs in pair.facts:
        table.add_row(name, escape(mine), escape(theirs), "", style="dim" if mine == theirs else "")
    for name in dict.fromkeys([*left.metrics, *right.metrics]):
        one, other = left.metrics.get(name), right.metrics.get(name)
        apart = "" if one is None or other is None else f"{other.value - one.value:+.4f}"
        table.add_row(name, _interval(one), _interval(other), apart)
    console.print(table)
    if not pair.is_paired:
        console.print(
            "Their tests were of other days or labels: the figures are not a paired comparison (a training beside the "
            "champion makes one).",
            style="yellow",
        )
    shifts = Table("importance of", left.label, right.label, header_style="bold", pad_edge=False)
    for name, *shares in pair.shifts:
        shifts.add_row(name, *("-" if share is None else f"{share:.1%}" for share in shares))
    console.print(shifts)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    around = "" if math.isnan(interval.low) else f"\n{interval.low:.4f} to {interval.high:.4f}"
    return f"{interval.value:.4f}{around}"
