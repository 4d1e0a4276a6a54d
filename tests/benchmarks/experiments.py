"""What the statistics of experiments promise, tried on many simulated experiments at once. Not a test.

python tests/benchmarks/experiments.py [--runs 5000]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cyclopts import App
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import bandits, comparisons, rankings

app = App(name="experiments", help=__doc__, version_flags=[])


@app.default
def simulate(*, runs: int = 5000) -> None:
    """Simulate and print; ends with 1 if a promise is broken.

    Parameters
    ----------
    runs
        Simulated experiments of the A/A figures; others take 2,000 at most.
    """
    fewer = min(runs, 2000)
    began = time.process_time()
    promises = [
        *comparisons.same_arms(runs, 20_000),
        *comparisons.same_small_arm(runs),
        *comparisons.same_amounts(runs),
        comparisons.covariate(fewer),
        *comparisons.uneven(fewer),
        *comparisons.planned(fewer),
        *bandits.moving(min(runs, 1000)),
        *bandits.still(min(runs, 1000)),
        *rankings.interleaved(min(runs, 500)),
        *rankings.even_rankers(fewer),
    ]
    table = Table(title=f"{runs:,} runs, {time.process_time() - began:.0f} s of CPU", title_justify="left")
    for name in ("promise", "measured", "range", ""):
        table.add_column(name)
    for one in promises:
        table.add_row(one.name, f"{one.measured:.4g}", f"{one.least:g} to {one.most:g}", "" if one.holds else "BROKEN")
    Console().print(table)
    raise SystemExit(not all(one.holds for one in promises))


if __name__ == "__main__":
    app()
