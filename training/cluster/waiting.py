"""Results of a cluster, waited for as long as there is somebody who could give them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributed import Client, Future

ALONE = 30.0
"""Seconds without any worker after which nobody is waited for any more: one that was lost may be started again."""
LOOK = 1.0
STAYED = "the champion is where it was"


def wait_for(client: Client, futures: Sequence[Future], progress: Callable[[int], None] = lambda _done: None) -> None:
    """Until all are done; `progress` is told how many are. Raises TrainingError when the cluster cannot finish them,
    and what a task raised.
    """
    from distributed import wait
    from distributed.exceptions import TimeoutError as DaskTimeoutError

    left, alone = list(futures), 0.0
    while left:
        try:
            wait(left, timeout=LOOK, return_when="FIRST_COMPLETED")
        except (DaskTimeoutError, TimeoutError):
            alone = _count_alone(client, alone)
        for future in [one for one in left if one.done()]:
            _raise_of(future)
        left = [one for one in left if not one.done()]
        progress(len(futures) - len(left))


def workers(client: Client) -> set[str]:
    """Addresses of those that are there. Raises TrainingError when the scheduler is not."""
    if client.status != "running":
        raise TrainingError(
            f"the Dask scheduler went away while this training used it: start it again, and train anew; {STAYED}"
        )
    return set(client.scheduler_info(n_workers=-1)["workers"])


def _count_alone(client: Client, since: float) -> float:
    """When the last worker was lost; 0 while there is one. Raises TrainingError for one that is lost for long."""
    if workers(client):
        return 0.0
    now = time.monotonic()
    if since and now - since > ALONE:
        raise TrainingError(f"all workers of the cluster are gone: start some again, and train anew; {STAYED}")
    return since or now


def _raise_of(future: Future) -> None:
    """What the task raised, where it did."""
    from distributed.scheduler import KilledWorker

    if future.status == "finished":
        return
    if future.status == "cancelled":
        raise TrainingError(f"the cluster gave up a task of this training (it was restarted?): train anew; {STAYED}")
    error: Any = future.exception()
    if isinstance(error, KilledWorker):
        raise TrainingError(
            f"workers of the cluster were lost again and again at the same task ({error.last_worker.address} was the "
            f"last): look whether they have memory enough; {STAYED}"
        ) from error
    raise error
