"""Customers a second of an audience: 100 candidates each, 200 trees of 31 leaves, free and governed. Not a test.

Run it: `python tests/benchmarks/audience.py [--customers 10000]`; takes about a minute. What a start costs is measured
by an audience of nobody, and taken off.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import shop, workload

EVENTS = 5
BAR = 1000


def choose(home: Path, placement: str, *options: str) -> tuple[float, float]:
    """(seconds, processor seconds) of `kairos audience`."""
    command = [sys.executable, "-m", "kairos", "audience", "--home", str(home), "--placement", placement, *options]
    began, before = time.monotonic(), _processor_seconds()
    subprocess.run(command, check=True, capture_output=True, text=True)
    return time.monotonic() - began, _processor_seconds() - before


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=10_000)
    added = parser.parse_args().customers
    customers = added + workload.CUSTOMERS  # the shop has some already
    table = Table(title=f"{customers:,} customers; bar {BAR:,} a second and core", title_justify="left")
    for name in ("audience", "customers a second", "a processor second"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory(prefix="kairos-audience-") as name:
        folder = Path(name)
        document = shop.catalog() | {"consent": {"marketing": True}}
        with shop.open_shop(folder, 1, lambda _: None, document) as (address, _):
            shop.fill(address.url, [f"a-{number}" for number in range(added)] * EVENTS, "audience")
            out = str(folder / "audience.parquet")
            nobody = choose(folder / "home", workload.PLACEMENT, "--out", out, "--where", "false", "--rehearse")
            for label, placement, options in (
                ("rehearsed", workload.PLACEMENT, ("--rehearse",)),
                ("logged", workload.PLACEMENT, ()),
                ("governed, logged", workload.GOVERNED, ()),
            ):
                taken = choose(folder / "home", placement, "--out", out, *options)
                rates = [customers / (some - start) for some, start in zip(taken, nobody, strict=True)]
                table.add_row(label, *(f"{rate:,.0f}" for rate in rates))
    Console().print(table)


if __name__ == "__main__":
    main()
