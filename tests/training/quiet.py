"""Stages without a terminal: what was said is kept."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.options import Advance


class Quiet:
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.said: list[str] = []
        self.done: dict[str, tuple[int, int]] = {}

    @contextmanager
    def stage(self, title: str) -> Iterator[Advance]:
        self.stages.append(title)

        def advance(done: int, total: int) -> None:
            self.done[title] = (done, total)

        yield advance

    def say(self, text: str) -> None:
        self.said.append(text)
