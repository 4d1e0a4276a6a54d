"""What a training is asked for, and where its progress is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from models.bundle import CHAMPION, DEFAULT_NAME
from training import bootstrap, fit
from training.search import Budget  # noqa: TC001  # msgspec reads the annotations when the program runs
from training.split import Dates

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from training.labels import Kind


class Advance(Protocol):
    """Tells a stage's progress: done of all."""

    def __call__(self, done: int, total: int) -> None: ...


class Stages(Protocol):
    """Where progress is shown."""

    def stage(self, title: str) -> AbstractContextManager[Advance]: ...

    def say(self, text: str) -> None: ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    labels: Kind | Literal["auto"] = "auto"
    reward: str | None = None
    name: str = DEFAULT_NAME
    alias: str = CHAMPION
    dates: Dates = Dates()
    queries: bootstrap.Options = bootstrap.Options()
    fit: fit.Options = fit.Options()
    seed: int = 0
    states: Literal["joined", "logged"] = "joined"
    """Logged labels: the customers' rows joined from the historical store, or as each decision logged them."""
    value: Literal["catalog", "revenue"] = "catalog"
    """Whether what a reward brings is learnt too, from orders."""
    search: Budget | None = None
    """How long to look for better parameters of the trees; None: not at all."""
    cluster: str | None = None
    """The Dask cluster that joins and fits, as `cluster.connection` reads it; None: this process."""
    promote: bool = False
    """Move the alias if every gate holds; else only where there is no champion yet."""
