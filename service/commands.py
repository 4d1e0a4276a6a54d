"""The verbs of the service. Their imports are light: what they start is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.settings import Settings
    from service.supervisor.tree import Entries

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
HostOption = Annotated[str, Parameter(help="The address to listen on; 0.0.0.0 for every network.")]
PortOption = Annotated[
    int, Parameter(help="The port to listen on; 0 takes a free one.", validator=validators.Number(gte=0, lte=65535))
]
WorkersOption = Annotated[int, Parameter(help="API processes; one a core is most.", validator=validators.Number(gte=1))]

WITHOUT_THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Keeps libraries from starting threads when they are imported (pyarrow's jemalloc does too): children are forked."""


def up(
    *, home: HomeOption = None, host: HostOption = "127.0.0.1", port: PortOption = 8000, workers: WorkersOption = 1
) -> None:
    """Start everything: Redis, API and worker, until Ctrl-C.

    Redis is embedded unless KAIROS_REDIS_URL names one. What dies is started again. All data is in the home folder,
    and the next start goes on with it.
    """
    os.environ.update(WITHOUT_THREADS)  # before anything imports numpy
    from service.supervisor import tree

    settings = _settings(home)
    raise SystemExit(tree.up(settings, host, port, workers, _loader(settings), tree.say_with_time))


def serve(
    *, home: HomeOption = None, host: HostOption = "127.0.0.1", port: PortOption = 8000, workers: WorkersOption = 1
) -> None:
    """Start the API alone, for a deployment in parts.

    It needs KAIROS_REDIS_URL, or a `kairos up` that runs on the same home.
    """
    os.environ.update(WITHOUT_THREADS)  # before anything imports numpy
    from service.supervisor import tree

    settings = _settings(home)
    raise SystemExit(tree.serve(settings, host, port, workers, _loader(settings), tree.say_with_time))


def worker(*, home: HomeOption = None) -> None:
    """Start a worker alone, for a deployment in parts.

    It turns events into features. It needs KAIROS_REDIS_URL, or a `kairos up` that runs on the same home.
    """
    os.environ.update(WITHOUT_THREADS)  # before anything imports numpy
    from service.supervisor import tree

    settings = _settings(home)
    raise SystemExit(tree.work(settings, _loader(settings), tree.say_with_time))


def decide(
    *,
    customer: Annotated[str, Parameter(help="The customer's id, known or anonymous.")],
    placement: Annotated[list[str], Parameter(help="A placement of the catalog; give several for a whole page.")],
    flag: Annotated[dict[str, str] | None, Parameter(help="Force a variant: --flag.EXPERIMENT VARIANT.")] = None,
    home: HomeOption = None,
) -> None:
    """Show one decision for a customer and a placement.

    It asks the running `kairos up` of the home, or decides in this process when there is none, and says why.
    """
    from rich.console import Console

    from service.decisions import terminal

    Console().print(terminal.render(terminal.ask(_settings(home), customer, placement, flag or {})))


def doctor(
    *,
    json: Annotated[bool, Parameter(help="Print JSON, for machines.", negative="")] = False,
    api: Annotated[str | None, Parameter(help="An API that runs elsewhere; else that of `kairos up`.")] = None,
    home: HomeOption = None,
) -> None:
    """Look at every part, say what is wrong and what to do.

    Exit code 1 when something is a problem. Nothing is started or changed.
    """
    from rich.console import Console

    from service.doctor import examination, findings, terminal

    found = examination.examine(_settings(home), api)
    if json:
        print(terminal.encode(found))  # as it is: a console would wrap it
    else:
        Console().print(terminal.render(found))
    raise SystemExit(findings.worst(each.verdict for each in found) == "problem")


def _settings(home: Path | None) -> "Settings":
    from features.settings import load

    return load(os.environ, home)


def _loader(settings: "Settings") -> "Callable[[], Entries]":
    """Imports what the children run, once for all of them."""

    def load() -> "Entries":
        # Read by the metrics library when it is imported: where the processes share their counts.
        os.environ.update(PROMETHEUS_MULTIPROC_DIR=str(_metrics_folder(settings)))
        import service.app
        import service.worker
        from service.supervisor.tree import Entries

        return Entries(api=service.app.run, worker=service.worker.run)

    return load


def _metrics_folder(settings: "Settings") -> Path:
    """An empty folder of this command's own; those of commands that are gone are removed."""
    from features.occupancy import is_alive

    folders = settings.home.root / "metrics"
    own = folders / str(os.getpid())
    for folder in folders.glob("[0-9]*"):
        if folder == own or not is_alive(int(folder.name)):
            shutil.rmtree(folder)
    own.mkdir(parents=True)
    return own
