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
from training.simulation import catalog, deployment, summary
from training.simulation.client import Client
from training.simulation.connection import ServiceError
from training.simulation.deployment import DemoError
from training.simulation.story import SEED, Stage, tell
from training.simulation.world import build

if TYPE_CHECKING:
    from training.simulation.summary import Result

FOLDER = Path(".kairos-demo")
EXPLORING, COMPARING = 2500, 1250
"""Visits, of four pages each."""
INTRODUCTION = (
    "A shop with {offers} offers and {customers:,} customers, all [bold]simulated[/]: tastes are drawn at random, "
    "and the chance of every click is known. Everything else is real: each page is a decision over HTTP, each exposure "
    "and click an event, and training reads what was logged. The deployment lives in {home}."
)


def run_demo(
    home: Path | None = None,
    *,
    once: bool = False,
    port: int | None = None,
    visits: tuple[int, int] = (EXPLORING, COMPARING),
) -> int:
    """Play the demo and (unless `once`) serve on until Ctrl-C.

    The exit code: 0 if the trained arm beat the uniform one with intervals apart. Raises DemoError with what is wrong.
    """
    chosen = Home((home or FOLDER).expanduser().resolve())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_perform(chosen, once, port, visits, Console()))


async def _perform(home: Home, once: bool, port: int | None, visits: tuple[int, int], console: Console) -> int:
    # A SIGTERM ends the demo as Ctrl-C does: the deployment is stopped first.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    began = time.monotonic()
    world = build(np.random.default_rng(SEED))
    deployment.prepare(home, catalog.write(world))
    place = escape(str(home.root))
    text = INTRODUCTION.format(offers=len(world.offers), customers=len(world.customers), home=place)
    console.print(Panel(text, title="Kairos demo", title_align="left"))
    url = f"http://127.0.0.1:{port or deployment.choose_port()}"
    stage = Stage(world, Client(url), home, console, visits)
    async with deployment.running(home, int(url.rpartition(":")[2])) as process:
        ended = asyncio.create_task(process.wait())
        story = asyncio.create_task(tell(stage, began))
        try:
            await asyncio.wait((story, ended), return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                raise _ended(home)
            result = _result(story, home)
            _conclude(console, result, url, home, once)
            if not once:
                with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
                    await ended
                    raise _ended(home)
        finally:
            story.cancel()
            await asyncio.gather(story, return_exceptions=True)
            stage.client.close()
    return 0 if result.holds else 1


def _ended(home: Home) -> DemoError:
    return DemoError(f"`kairos up` ended; it said last:\n{deployment.last_lines(home)}")


def _result(story: asyncio.Task[Result], home: Home) -> Result:
    try:
        return story.result()
    except ServiceError as error:
        raise DemoError(
            f"the service failed: {error}\n`kairos up` said last:\n{deployment.last_lines(home)}"
        ) from error


def _conclude(console: Console, result: Result, url: str, home: Home, once: bool) -> None:
    console.print("\n[bold cyan]5/5[/] Sum up")
    console.print(summary.tabulate(result))
    if not result.holds:
        console.print("[bold red]The trained arm did not beat the uniform one with intervals apart.[/]")
    place = escape(str(home.root))
    lines = [f"kairos decide --home {place} --customer customer-7 --placement home-grid"]
    lines.insert(0, f"kairos up --home {place}" if once else f"{url}/schema   the API; Ctrl-C stops it")
    console.print("Next:\n  " + "\n  ".join(lines), highlight=False)
