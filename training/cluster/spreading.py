"""The cluster as an executor, for work that knows of no cluster."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from training.cluster.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client


class Workers(Executor):
    """Gives work to the cluster's workers; a piece whose worker is lost is done anew by another."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        return _Task(self._client, self._client.submit(work, *arguments, **named, pure=False, retries=2))


class _Task(Future[Any]):
    """What a worker is to give; it is not taken back, and is waited for as long as there are workers."""

    def __init__(self, client: Client, task: Any) -> None:
        super().__init__()
        self._client, self._task = client, task

    def cancel(self) -> bool:
        return False

    def result(self, timeout: float | None = None) -> Any:
        wait_for(self._client, [self._task])
        found = self._task.result()
        self._task.release()
        return found
