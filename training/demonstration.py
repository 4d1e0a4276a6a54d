"""The script of `kairos demo`: a simulated shop explores, learns, and is measured over the real HTTP API."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from features.home import Home
from training.simulation import catalog, crowd, deployment, summary
from training.simulation.catalog import STEADY, TRAINED, UNIFORM
from training.simulation.client import Client
from training.simulation.deployment import DemoError
from training.simulation.figures import Ledger
from training.simulation.progress import bar
from training.simulation.world import ATTENTION, build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.simulation.client import Decision
    from training.simulation.summary import Result
    from training.simulation.world import Counts, World

FOLDER = Path(".kairos-demo")
SEED = 20
EXPLORING, COMPARING = 4000, 2500
"""Visits, of PAGES pages each."""
PAGES = 4
PATIENCE = 180.0
"""Seconds that the service gets to be ready, and to take a new model."""
INTRODUCTION = (
    "A shop with {offers} offers and {customers:,} customers, all [bold]simulated[/]: tastes are drawn at random, "
    "and the chance of every click is known. Everything else is real: each page is a decision over HTTP, each exposure "
    "and click an event, and training reads what was logged. The deployment lives in {home}."
)


class Stage:
    """What the acts of the demo share."""

    def __init__(self, world: World, client: Client, home: Home, console: Console) -> None:
        self.world, self.client, self.home, self.console = world, client, home, console
        self.seen: Counts = np.zeros((len(world.customers), len(world.offers)), np.int64)
        self.generator = np.random.default_rng(SEED + 1)
        self.visits = 0

    def say(self, act: int, text: str) -> None:
        self.console.print(f"\n[bold cyan]{act}/5[/] {text}")


def run_demo(home: Path | None = None, *, once: bool = False, port: int | None = None) -> int:
    """Play the demo and (unless `once`) serve on until Ctrl-C; the exit code. Raises DemoError with what is wrong."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_perform(Home((home or FOLDER).expanduser().resolve()), once, port, Console()))


async def _perform(home: Home, once: bool, port: int | None, console: Console) -> int:
    # A SIGTERM ends the demo as Ctrl-C does: the deployment is stopped first.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    began = time.monotonic()
    world = build(np.random.default_rng(SEED))
    deployment.prepare(home, catalog.write(world))
    place = escape(str(home.root))
    text = INTRODUCTION.format(offers=len(world.offers), customers=len(world.customers), home=place)
    console.print(Panel(text, title="Kairos demo", title_align="left"))
    url = f"http://127.0.0.1:{port or deployment.choose_port()}"
    stage = Stage(world, Client(url), home, console)
    async with deployment.running(home, int(url.rpartition(":")[2])) as process:
        ended = asyncio.create_task(process.wait())
        story = asyncio.create_task(_tell(stage, began))
        try:
            await asyncio.wait((story, ended), return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                raise DemoError(f"`kairos up` ended; it said last:\n{deployment.last_lines(home)}")
            result = story.result()
            _conclude(console, result, url, home, once)
            if not once:
                with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
                    await ended
        finally:
            story.cancel()
            await asyncio.gather(story, return_exceptions=True)
            stage.client.close()
    return 0 if result.holds else 1


async def _tell(stage: Stage, began: float) -> Result:
    with stage.console.status("Starting Redis, worker and API"):
        await _until_ready(stage.client)
    explored = await _explore(stage)
    model = await _train(stage)
    compared, freshness = await _compare(stage)
    await _meet(stage)
    seconds = time.monotonic() - began
    return summary.conclude(explored, compared, (UNIFORM, TRAINED), model, freshness, seconds)


async def _explore(stage: Stage) -> Ledger:
    stage.say(1, "Explore: nothing is known yet, so every offer is drawn at random; exposures and clicks are logged.")
    ledger = Ledger()
    await _play(stage, EXPLORING, [UNIFORM], ledger)
    return ledger


async def _train(stage: Stage) -> str:
    """Train and wait until decisions are made with the new model; its name and version."""
    stage.say(2, "Train: join each exposure with the features of its moment, fit, calibrate, evaluate, promote.")
    lines: list[str] = []
    try:
        with stage.console.status("kairos train --labels logged") as status:

            def hear(line: str) -> None:
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
    raise DemoError(f"the service did not take the trained model within {PATIENCE:.0f} s; see {stage.home.logs}")


async def _compare(stage: Stage) -> tuple[Ledger, list[float]]:
    stage.say(3, "Compare: the same customers come again, half of them to the trained arm, half to the uniform one.")
    ledger, freshness = Ledger(), list[float]()
    probing = asyncio.create_task(crowd.probe(stage.client, stage.world, STEADY, freshness))
    try:
        await _play(stage, COMPARING, [UNIFORM, TRAINED], ledger)
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
    return ledger, freshness


async def _meet(stage: Stage) -> None:
    """One new visitor: a page, three clicks on another category, the page again."""
    world, client, visitor = stage.world, stage.client, "visitor-one"
    first, second = world.categories.index("books"), world.categories.index("cameras")
    stage.say(4, f"Meet one visitor: a book first, then three clicks on {world.categories[second]}.")
    token = await client.send(_looks(world, visitor, first, 1))
    before = await _decide_once(client, visitor, token, explain=False)
    token = await client.send(_looks(world, visitor, second, 3))
    after = await _decide_once(client, visitor, token, explain=True)
    stage.console.print(summary.compare(world, before, after))


async def _decide_once(client: Client, visitor: str, token: str, *, explain: bool) -> Decision:
    return await client.decide(
        crowd.ask(visitor, list(ATTENTION), STEADY, after=token, deadline_ms=2000, explain=explain)
    )


def _looks(world: World, visitor: str, category: int, count: int) -> list[dict[str, object]]:
    offers = [offer for offer in world.offers if offer.category == category][:count]
    return [
        crowd.track(visitor, f"{visitor}-{offer.id}", "Product Viewed", crowd.product(world, offer)) for offer in offers
    ]


async def _play(stage: Stage, visits: int, arms: Sequence[str], ledger: Ledger) -> None:
    bookings = crowd.book(stage.world, visits, arms, stage.generator, first=stage.visits)
    stage.visits += visits
    with bar(stage.console, "pages", visits * PAGES) as advance:
        await crowd.play(stage.client, stage.world, bookings, stage.seen, ledger, SEED, advance)
    rungs = ", ".join(f"{count:,} by rung {rung}" for rung, count in sorted(ledger.rungs.items()))
    stage.console.print(f"    [dim]{ledger.events:,} events sent; decisions: {rungs}[/]", highlight=False)


async def _until_ready(client: Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await client.is_ready():
        if time.monotonic() > deadline:
            raise DemoError(f"the service is not ready after {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)


def _conclude(console: Console, result: Result, url: str, home: Home, once: bool) -> None:
    console.print("\n[bold cyan]5/5[/] Sum up")
    console.print(summary.tabulate(result))
    if not result.holds:
        console.print("[bold red]The trained arm did not beat the uniform one with intervals apart.[/]")
    place = escape(str(home.root))
    lines = [f"kairos decide --home {place} --customer customer-7 --placement home-grid"]
    lines.insert(0, f"kairos up --home {place}" if once else f"{url}/schema   the API; Ctrl-C stops it")
    console.print("Next:\n  " + "\n  ".join(lines), highlight=False)
