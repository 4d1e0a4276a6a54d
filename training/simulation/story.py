"""The acts of the demo, one after another, told on the terminal: explore, train, compare, meet one visitor."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape

from training.simulation import crowd, deployment, summary
from training.simulation.catalog import STEADY, TRAINED, UNIFORM
from training.simulation.deployment import DemoError
from training.simulation.encounter import FIRST, THEN, show
from training.simulation.figures import Ledger
from training.simulation.progress import bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from features.home import Home
    from training.simulation.client import Client
    from training.simulation.encounter import Looks
    from training.simulation.summary import Result
    from training.simulation.world import Counts, World

SEED = 20
PAGES = 4
"""Of a visit."""
CROWD, SOME = 32, 12
"""Visitors at a time: as many as the machine takes, and few enough that it has time left, for honest latencies."""
PATIENCE = 180.0
"""Seconds that the service gets to be ready, and to take a new model."""


class Stage:
    """What the acts of the demo share."""

    def __init__(self, world: World, client: Client, home: Home, console: Console, visits: tuple[int, int]) -> None:
        self.world, self.client, self.home, self.console = world, client, home, console
        self.exploring, self.comparing = visits
        self.seen: Counts = np.zeros((len(world.customers), len(world.offers)), np.int64)
        self.generator = np.random.default_rng(SEED + 1)
        self.visits = 0

    def say(self, act: int, text: str) -> None:
        self.console.print(f"\n[bold cyan]{act}/5[/] {text}")


async def tell(stage: Stage, began: float) -> Result:
    """All acts; the time of the result counts from `began`. Raises ServiceError, DemoError."""
    with stage.console.status("Starting Redis, worker and API"):
        await _until_ready(stage.client)
    explored = await _explore(stage)
    model = await _train(stage)
    compared = await _compare(stage)
    await _meet(stage)
    seconds = time.monotonic() - began
    return summary.conclude(explored, compared, (UNIFORM, TRAINED), model, seconds)


async def _explore(stage: Stage) -> Ledger:
    stage.say(1, "Explore: nothing is known yet, so every offer is drawn at random; exposures and clicks are logged.")
    ledger = Ledger()
    await _play(stage, stage.exploring, [UNIFORM], ledger, CROWD)
    return ledger


async def _train(stage: Stage) -> str:
    """Train and wait until decisions are made with the new model; its name and version."""
    stage.say(2, "Train: join each exposure with the features of its moment, fit, calibrate, evaluate, promote.")
    lines: list[str] = []
    try:
        with stage.console.status("kairos train --labels logged") as status:

            def hear(line: str) -> None:
                if line:
                    lines.append(line)
                status.update(f"kairos train --labels logged  [dim]{escape(line[-60:])}[/]")

            width = stage.console.width - 4
            await deployment.run_verb(stage.home, "train", "--labels", "logged", hear=hear, width=width)
    finally:
        for line in lines:
            stage.console.print(f"    [dim]{escape(line)}[/]", highlight=False)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        decision = await stage.client.decide(crowd.ask("probe-0", [summary.HERO], STEADY))
        if decision.rung == "model" and decision.model:
            return f"{decision.model.name} {decision.model.version}"
        await asyncio.sleep(0.1)
    problems = "; ".join(f"{part}: {what}" for part, what in (await stage.client.problems()).items())
    raise DemoError(
        f"the service did not take the trained model within {PATIENCE:.0f} s; {problems or 'it says not why'}"
    )


async def _compare(stage: Stage) -> Ledger:
    stage.say(3, "Compare: the same customers come again, half of them to the trained arm, half to the uniform one.")
    ledger = Ledger()
    probing = asyncio.create_task(crowd.probe(stage.client, stage.world, STEADY, ledger))
    try:
        await _play(stage, stage.comparing, [UNIFORM, TRAINED], ledger, SOME)
        if probing.done():
            probing.result()  # it only ends by failing
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
    return ledger


async def _meet(stage: Stage) -> None:
    stage.say(4, f"Meet a new visitor: {_say(FIRST)}, then {_say(THEN)}; what does the page show before and after?")
    before = await show(stage.client, stage.world, FIRST)
    after = await show(stage.client, stage.world, THEN)
    stage.console.print(summary.compare(stage.world, before, after))


def _say(looks: Looks) -> str:
    return f"{looks.count} click{'s' if looks.count > 1 else ''} on {looks.category}"


async def _play(stage: Stage, visits: int, arms: Sequence[str], ledger: Ledger, visitors: int) -> None:
    bookings = crowd.book(stage.world, visits, arms, stage.generator, first=stage.visits)
    stage.visits += visits
    with bar(stage.console, "pages", visits * PAGES) as advance:
        await crowd.play(stage.client, stage.world, bookings, stage.seen, ledger, SEED, visitors, advance)
    rungs = ", ".join(f"{count:,} by rung {rung}" for rung, count in sorted(ledger.rungs.items()))
    again = f", {stage.client.refusals} batches twice as the service was busy" if stage.client.refusals else ""
    stage.console.print(f"    [dim]{ledger.events:,} events sent{again}; decisions: {rungs}[/]", highlight=False)


async def _until_ready(client: Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await client.is_ready():
        if time.monotonic() > deadline:
            raise DemoError(f"the service is not ready after {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)
