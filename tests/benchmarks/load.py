"""The load process: reads a plan on standard input, carries it out, and writes the outcome on standard output."""

from __future__ import annotations

import gc
import subprocess
import sys
import time

import msgspec

from tests.benchmarks.plan import Alternating, OpenLoop, Outcome, Plan, Sample, Saturating
from tests.benchmarks.processes import ROOT


def measure(plan: Plan) -> Outcome:
    """Runs the plan in a process of its own. RuntimeError with that process's words when it fails."""
    command = [sys.executable, "-m", "tests.benchmarks.load"]
    done = subprocess.run(command, cwd=ROOT, input=msgspec.json.encode(plan), capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load process failed:\n{done.stderr.decode()[-4000:]}")
    return msgspec.json.decode(done.stdout, type=Outcome)


def execute(plan: Plan) -> list[Sample]:
    import uvloop

    from tests.benchmarks import alternating, canary, flowing

    if isinstance(plan, Alternating):
        return alternating.alternate(plan)
    if isinstance(plan, Saturating):
        return uvloop.run(flowing.saturate(plan))
    if isinstance(plan, OpenLoop):
        return uvloop.run(flowing.flow(plan))
    return uvloop.run(canary.watch(plan))


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    gc.freeze()
    gc.disable()  # bounded plans: a pause of our own would look like one of the server's
    start, used = time.perf_counter(), time.process_time()
    samples = execute(plan)
    share = (time.process_time() - used) / (time.perf_counter() - start)
    sys.stdout.buffer.write(msgspec.json.encode(Outcome(samples=samples, cpu_share=share)))


if __name__ == "__main__":
    main()
