"""The `kairos` command: registers the verbs, which live in each package's commands.py and are imported when used."""

from __future__ import annotations

import os
import select
import sys
from importlib.metadata import version

from cyclopts import App

from features import refusal

VERBS = {
    "up": ("service.commands:up", "Start everything: Redis, API and worker, until Ctrl-C."),
    "demo": ("training.commands:demo", "Watch a simulated shop learn what to show."),
    "import": ("features.commands:import_", "Bring in files of events or orders."),
    "train": ("training.commands:train", "Train a model from the archive, evaluate and promote it."),
    "models": ("training.versions.commands:models", "List, compare, promote and roll back the versions of models."),
    "skew": ("training.skew.commands:skew", "Compare what decisions were made with to what training joins for them."),
    "off-policy": (
        "training.off_policy.commands:off_policy",
        "Say what a policy would have earned, from a log of what another one picked.",
    ),
    "uplift": ("training.uplift.commands:uplift", "Say for whom a treatment works, from a randomised test."),
    "decide": ("service.commands:decide", "Show one decision for a customer and a placement."),
    "replay-decision": (
        "service.decisions.commands:replay_decision",
        "Make a logged decision again, and say whether it is the same to the bit.",
    ),
    "replay-decisions": (
        "service.decisions.commands:replay_decisions",
        "Make logged decisions again: as they were, or by another catalog or model.",
    ),
    "replay": ("features.commands:replay", "Rebuild all features from the archive."),
    "serve": ("service.commands:serve", "Start the API alone, for a deployment in parts."),
    "worker": ("service.commands:worker", "Start a worker alone, for a deployment in parts."),
    "events": ("service.events.commands:events", "List the events that were not taken, and send them again."),
    "catalog": ("service.catalog.commands:catalog", "Check, plan, publish and roll back the catalog."),
    "experiment": (
        "service.experiments.commands:experiment",
        "Plan experiments, read their reports, and analyse counts of others.",
    ),
    "audience": ("service.audiences.commands:audience", "Choose for all customers at once, into a file."),
    "doctor": ("service.commands:doctor", "Look at every part, say what is wrong and what to do."),
    "archive": ("features.archive.commands:archive", "Look after the event archive."),
    "features": ("features.commands:features", "List the features, and check one before it is added."),
    "env": ("features.commands:env", "Print the variables that point other programs at this home."),
}
"""Verb: the function, and the line that `kairos --help` shows without importing it (the first of its docstring)."""

INTERRUPTED, CUT_OFF = 130, 141
"""Exit codes as shells have them for programs that SIGINT or SIGPIPE ends."""


def build(arguments: list[str]) -> App:
    """The command line; a verb that was asked for speaks with its own docstring."""
    app = App(
        name="kairos",
        help="Kairos decides what to show whom, in real time and with a trained model.",
        help_format="plaintext",  # the default, markdown, costs a third of a second of imports
        version=lambda: version("kairos"),
    )
    for position, (verb, (target, line)) in enumerate(VERBS.items()):
        app.command(target, name=verb, help=None if arguments[:1] == [verb] else line, sort_key=position)
    return app


def main() -> None:
    """Run the verb. What the user can put right is one line and exit code 1; the rest is a bug, with its traceback."""
    try:
        build(sys.argv[1:])()
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        if not _is_cut_off():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is for nobody
        raise SystemExit(CUT_OFF) from None
    except ValueError as error:
        if (message := refusal.explain(error)) is None:
            raise
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True, soft_wrap=True).print(Text(f"kairos: {message}", style="red"))
        raise SystemExit(1) from None


def _is_cut_off() -> bool:
    """Whether it is the reader of what is printed who has had enough, as `head` has."""
    asking = select.poll()
    asking.register(sys.stdout, 0)  # that nobody reads is told without being asked for
    return any(said & (select.POLLERR | select.POLLHUP) for _, said in asking.poll(0))


if __name__ == "__main__":
    main()
