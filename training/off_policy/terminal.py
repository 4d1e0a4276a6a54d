"""What `kairos off-policy` shows: the estimators with their intervals, the support, and whether to trust any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from models.off_policy import Estimate, Valuation

UNTRUSTED = 3
"""Exit code of an estimate that is not to be trusted."""


def show(console: Console, valuation: Valuation, title: str, what: str, others: dict[str, Estimate]) -> int:
    """Print it; the exit code. `what` a slate earns, `others` are further values to stand beside."""
    table = Table(title=title, title_justify="left")
    for name in ("", what, "95 % interval"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    rows = {
        "IPS (inverse probability)": valuation.inverse_probability,
        "SNIPS (self-normalised)": valuation.self_normalised,
        "DM (reward model alone)": valuation.direct,
        "DR (doubly robust)": valuation.doubly_robust,
    }
    for name, estimate in rows.items():
        if estimate is not None:
            best = estimate is valuation.best
            table.add_row(name, *_cells(estimate), style="bold" if best else None)
    table.add_section()
    for name, estimate in {"earned by who logged it": valuation.logged, **others}.items():
        table.add_row(name, *_cells(estimate))
    console.print(table)
    support = valuation.support
    console.print(
        f"effective sample {support.effective:,.0f} of {support.slates:,}, largest weight {support.largest:,.1f} "
        f"({support.largest_share:.1%} of all), mean weight {support.mean_weight:.3f}, never logged "
        f"{support.uncovered:.1%}, rewarded {support.rewarded:,}",
        highlight=False,
        soft_wrap=True,
    )
    style = {"supported": "green", "thin": "yellow", "do not trust": "bold red"}[support.verdict]
    verdict = {"thin": "thin: read it as a hint", "do not trust": "do not trust this"}
    reasons = f": {'; '.join(support.reasons)}" if support.reasons else ""
    said = verdict.get(support.verdict, "supported")
    console.print(f"[{style}]{said}[/]{escape(reasons)}", highlight=False, soft_wrap=True)
    return 0 if valuation.is_trusted else UNTRUSTED


def _cells(estimate: Estimate) -> tuple[str, str]:
    interval = f"{_figure(estimate.low)} to {_figure(estimate.high)}" if np.isfinite(estimate.low) else "unknown"
    return _figure(estimate.value), interval


def _figure(value: float) -> str:
    return f"{value:.4g}"
