"""The process that makes a report for the API, so that no decision waits for it: `python -m
service.experiments.reports.child EXPERIMENT`, with the environment of the API. The report goes to standard output.
"""

from __future__ import annotations

import os
import sys

import msgspec

from features import refusal
from features.settings import load

NICE = 10
UNKNOWN = 4
"""Exit code where the catalog has no such experiment."""


def make(name: str) -> None:
    """Write the report, or say on standard error why there is none."""
    from service.experiments.reports import reporting
    from service.experiments.reports.trials import UnknownTrialError

    os.nice(NICE)
    try:
        report = reporting.report(load(os.environ).home, name)
    except ValueError as error:
        if (message := refusal.explain(error)) is None:
            raise
        sys.stderr.write(message)
        raise SystemExit(UNKNOWN if isinstance(error, UnknownTrialError) else refusal.REFUSED) from None
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    make(sys.argv[1])
