"""All flags at once by OFREP: a hundred of them, half plain ones with a rule and half those of running experiments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.benchmarks import shop, workload
from tests.benchmarks.figures import Bar, Section, summarise
from tests.benchmarks.load import measure
from tests.benchmarks.plan import Alternating, Target, Turn

if TYPE_CHECKING:
    from tests.benchmarks.stage import Stage

FLAGS = 100
PATH = "/ofrep/v1/evaluate/flags"


def catalog() -> dict[str, Any]:
    plain = [
        {
            "id": f"flag-{number}",
            "variants": {"on": True, "off": False},
            "default": "off",
            "rules": [{"when": f"traits.plan == 'plan-{number % 5}'", "variant": "on"}],
        }
        for number in range(FLAGS // 2)
    ]
    tests = [
        {
            "id": f"test-{number}",
            "status": "running",
            "placements": [workload.PLACEMENT],
            "variants": [{"id": "usual", "value": "plain"}, {"id": "bold", "value": f"bold-{number}"}],
        }
        for number in range(FLAGS // 2)
    ]
    return shop.catalog() | {"flags": plain, "experiments": tests}


def flags(on: Stage, seconds: float) -> Section:
    """Latency at one client, each request for another customer."""
    folder = on.folder / "flags"
    folder.mkdir()
    bodies = [
        json.dumps({"context": {"targetingKey": workload.customer(number), "traits": {"plan": f"plan-{number % 7}"}}})
        for number in range(workload.CUSTOMERS)
    ]
    with shop.open_shop(folder, on.workers, lambda _: None, catalog()) as (address, _):
        target = Target(
            name=f"kairos, {FLAGS} flags",
            url=address.url,
            path=PATH,
            bodies=bodies,
            expected=f'"test-{FLAGS // 2 - 1}"',
            process=address.process,
        )
        outcome = measure(Alternating(turns=[Turn(target=target, block=100)], rounds=1_000_000, seconds=seconds))
    rows = [summarise("flags", [sample]) for sample in outcome.samples]
    bar = Bar(name=f"OFREP, {FLAGS} flags, p99", measured=rows[0].p99, limit=5, side="at most", unit="ms")
    return Section(title="flags", method="one bulk evaluation at a time", rows=rows, bars=[bar])
