"""The measured servers, all up for the whole run: Redis, the floor, the rival and Kairos, in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from features import embedded
from features.home import Home
from tests.benchmarks import processes, shop, workload
from tests.benchmarks.plan import Target
from tests.benchmarks.processes import Address  # noqa: TC001  # msgspec resolves annotations at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUBJECTS = ("kairos", "floor", "rival")


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of what was started; None for what was left out."""

    folder: Path
    workers: int
    environment: dict[str, str]
    kairos: Address | None = None
    floor: Address | None = None
    rival: Address | None = None

    def targets(self, deadline_ms: int | None = None) -> list[Target]:
        """Every subject's decision endpoint, given the same bodies."""
        bodies = workload.decisions(deadline_ms=deadline_ms)
        governed = workload.decisions(deadline_ms=deadline_ms, placement=workload.GOVERNED)
        places = [
            ("kairos", self.kairos, "/v1/decisions", '"rung":"model"', bodies),
            ("kairos, governed", self.kairos, "/v1/decisions", '"rung":"model"', governed),
            ("floor: bare path", self.floor, "/bare", "score", bodies),
            ("floor: empty endpoint", self.floor, "/empty", "customer", bodies),
            ("rival", self.rival, "/decisions", "score", bodies),
            ("rival, two calls", self.rival, "/decisions-in-two-calls", "score", bodies),
        ]
        return [
            Target(name=name, url=server.url, path=path, bodies=sent, expected=expected, process=server.process)
            for name, server, path, expected, sent in places
            if server
        ]


@contextlib.contextmanager
def set_up(subjects: list[str], workers: int, say: Callable[[str], None]) -> Iterator[Stage]:
    """Starts the subjects one after the other; ends all of them and removes their folder, however the block ends."""
    with tempfile.TemporaryDirectory(prefix="kairos-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        kairos = None
        if "kairos" in subjects:
            say("kairos: home, catalog, model")
            kairos, redis_url = stack.enter_context(shop.open_shop(folder, workers, say))
        else:
            server = embedded.start(Home(folder / "home"))
            stack.callback(embedded.stop, server)
            redis_url = server.url
        environment = {"BENCH_FOLDER": name, "BENCH_REDIS_URL": redis_url, "BENCH_MODEL": str(folder / "model.txt")}
        servers: dict[str, Address] = {}
        if {"floor", "rival"} & set(subjects):
            say(f"a model of {workload.TREES} trees x {workload.LEAVES} leaves on {workload.FEATURES} features")
            model = workload.grow([*workload.CUSTOMER_NAMES, *workload.CANDIDATE_NAMES])
            (folder / "model.txt").write_text(model)
        for subject in ("floor", "rival"):
            if subject in subjects:
                say(f"{subject}: features into Redis, {workers} processes")
                prepare(subject, environment)
                servers[subject] = stack.enter_context(processes.web(f"{subject}:app", workers, folder, environment))
        yield Stage(folder=folder, workers=workers, environment=environment, kairos=kairos, **servers)


def prepare(subject: str, environment: dict[str, str]) -> None:
    run_program(subject, ["prepare"], environment)


def run_program(module: str, arguments: list[str], environment: dict[str, str]) -> bytes:
    """A module of this folder as a program; its standard output. RuntimeError with its words when it fails."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=processes.ROOT, env=os.environ | environment, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr.decode()[-4000:]}")
    return done.stdout
