"""Events a second of a replay: an archive of single events becomes the online features of a real Redis.

Run it: `python tests/benchmarks/replaying.py [--help]`, with as little else on the machine as may be.
The archive is written first, and is no part of the time; the replay is all of it, from the archive to the flip.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SPAN = 6 * 3600 * 1_000_000
SHARES = {
    "Product Viewed": 0.55,
    "Promotion Viewed": 0.25,
    "Promotion Clicked": 0.05,
    "Product Added": 0.08,
    "Order Completed": 0.07,
}
CATEGORIES = 40


def make(home: Any, events: int, customers: int, candidates: int, partitions: int) -> int:
    """Write an archive as live traffic leaves it, a marker of each second's snapshot included -> its bytes."""
    import numpy as np

    from features import archive, stream
    from features.events.schema import SnapshotTaken, Track

    draw = np.random.default_rng(7)
    end = time.time_ns() // 1000
    arrivals = np.sort(draw.choice(SPAN, events, replace=False)) + end - SPAN
    names = draw.choice(list(SHARES), events, p=list(SHARES.values()))
    whom = np.minimum(draw.exponential(0.35, events) * customers, customers - 1).astype(int)
    what = np.minimum(draw.pareto(1.1, (events, 3)) * candidates / 40, candidates - 1).astype(int)
    entries: dict[int, list[archive.Entry]] = {number: [] for number in range(partitions)}
    last = dict.fromkeys(entries, 0)
    snapshot = 0
    for at, name, who, (first, *more) in zip(
        arrivals.tolist(), names.tolist(), whom.tolist(), what.tolist(), strict=True
    ):
        number = stream.partition_of(f"c-{who}", partitions)
        while snapshot + 1_000_000 <= at:
            snapshot = at if snapshot == 0 else snapshot + 1_000_000
            cursors = {str(one): position for one, position in last.items()}
            taken = SnapshotTaken(
                message_id=f"s-{snapshot}", customer="", time=snapshot, received=snapshot, number=1, cursors=cursors
            )
            entries[0].append(archive.entry(snapshot, taken))
        if name.startswith("Promotion"):
            properties: dict[str, Any] = {
                "promotion_id": f"o-{first}",
                "decision_id": f"019b-{at:x}",
                "placement": "home-hero",
                "position": 1,
                "category": f"k-{first % CATEGORIES}",
            }
        elif name == "Order Completed":
            lines = [
                {"product_id": f"p-{one}", "category": f"k-{one % CATEGORIES}", "price": 9.5, "quantity": 1}
                for one in [first, *more]
            ]
            properties = {"order_id": f"{at:x}", "products": lines, "revenue": 28.5}
        else:
            properties = {"product_id": f"p-{first}", "category": f"k-{first % CATEGORIES}", "price": 9.5}
        event = Track(
            message_id=f"m-{at:x}",
            customer=f"c-{who}",
            time=at - 2000,
            received=at,
            anonymous_id=f"c-{who}",
            context={"page": {"path": "/shoes"}, "userAgent": "Mozilla/5.0 (X11; Linux x86_64)"},
            event=name,
            properties=properties,
        )
        entries[number].append(archive.entry(at, event))
        last[number] = at
    for number, some in entries.items():
        archive.write(home.archive, str(number), archive.tabulate(number, sorted(some, key=lambda one: one.arrival)))
    return sum(file.size for file in archive.files(home.archive))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from redis import Redis

    from features import embedded, footprint, replay
    from features.home import Home
    from features.settings import Settings

    with tempfile.TemporaryDirectory(prefix="kairos-replaying-") as folder:
        settings = Settings(home=Home(Path(folder)))
        size = make(settings.home, options.events, options.customers, options.candidates, settings.partitions)
        server = embedded.start(settings.home)
        try:
            reports = [replay.replay(settings, server.url, whole=True) for _ in range(options.repeats)]
            again = replay.replay(settings, server.url)
            with Redis.from_url(server.url) as redis:
                bytes_each = footprint.measure(redis, settings.home).bytes_a_customer
        finally:
            embedded.stop(server)
    best = min(reports, key=lambda report: report.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "events": best.events,
        "archive_bytes": size,
        "customers": best.customers,
        "candidates": best.candidates,
        "seconds": [round(report.seconds, 2) for report in reports],
        "events_a_second": round(best.events / best.seconds),
        "seconds_from_checkpoint": round(again.seconds, 2),
        "paused_seconds": round(best.paused, 3),
        "peak_bytes": peak,
        "redis_bytes_a_customer": round(bytes_each),
        "redis_mebibytes_a_million": round(bytes_each * 1e6 / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--customers", type=int, default=30_000)
    parser.add_argument("--candidates", type=int, default=1_500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures = measure(options)
    for name, value in figures.items():
        print(f"{name:>24}  {value:,}" if isinstance(value, int) else f"{name:>24}  {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
