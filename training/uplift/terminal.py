"""What `kairos uplift` shows: whether it works, whether it works for some more than for others, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from models.uplift import Effect
    from training.uplift.groups import Group
    from training.uplift.learning import Finding

UNTRUSTED = 3
"""Exit code of a test whose treatment was not drawn at random."""
SHOWN = 8


def show(console: Console, finding: Finding) -> int:
    """Print it; the exit code."""

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    effect = finding.effect
    works = "it works" if effect.low > 0 else "it harms" if effect.high < 0 else "no effect is shown"
    say(
        f"{effect.treated:,} treated have a mean outcome of {effect.outcome_treated:.3g}, {effect.control:,} others "
        f"{effect.outcome_control:.3g}: {_tell(effect)}; {works}"
    )
    for name, curve in finding.curves.items():
        say(
            f"Qini area per 1,000, {name}: {curve.area * 1e3:.1f} ({curve.area_low * 1e3:.1f} to "
            f"{curve.area_high * 1e3:.1f})"
        )
    say(f"[bold]{_conclude(finding)}[/]")
    columns = ("by predicted effect", "predicted", "measured", "95 % interval", "units")
    table = _table(*columns)
    for group in finding.by_score:
        table.add_row(group.name, f"{group.predicted:+.3g}", *_cells(group.effect))
    console.print(table)
    differing = [group for group in finding.by_feature if group.differs]
    table = _table("for whom" if differing else "for whom (none differs)", "elsewhere", *columns[2:])
    for group in differing[:SHOWN] or finding.by_feature[:3]:
        table.add_row(escape(group.name), _elsewhere(group), *_cells(group.effect))
    console.print(table)
    if finding.suspicion:
        say(f"[bold red]do not trust this[/]: the treatment was not drawn at random: {escape(finding.suspicion)}")
        return UNTRUSTED
    return 0


def _conclude(finding: Finding) -> str:
    if not finding.shows_for_whom:
        return (
            "No heterogeneity is shown: the features do not tell for whom it works better. Treat all or none, as the "
            "effect says."
        )
    curve = next(iter(finding.curves.values()))
    half = float(np.interp(0.5, curve.share, curve.gain)) / float(curve.gain[-1])
    harmed = [group.name for group in finding.by_score if group.effect.high < 0.0]
    harm = f" It harms those from {' and '.join(harmed)}: leave them out." if harmed else ""
    return f"It works for some more than for others: the best half has {half:.0%} of the effect on all.{harm}"


def _table(*names: str) -> Table:
    table = Table()
    for at, name in enumerate(names):
        table.add_column(name, justify="right" if at else "left", no_wrap=at > 0, overflow="fold")
    return table


def _cells(effect: Effect) -> tuple[str, str, str]:
    interval = f"{effect.low:+.3g} to {effect.high:+.3g}"
    return f"{effect.value:+.3g}", interval, f"{effect.treated + effect.control:,}"


def _elsewhere(group: Group) -> str:
    return "" if group.elsewhere is None else f"{group.elsewhere.value:+.3g}"


def _tell(effect: Effect) -> str:
    return f"{effect.value:+.3g} ({effect.low:+.3g} to {effect.high:+.3g})"
