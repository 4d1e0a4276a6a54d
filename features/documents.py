"""YAML documents validated whole: every error at once, each with its line and column in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
import yaml

from features import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Model = TypeVar("Model", bound=pydantic.BaseModel)
Place = tuple[str | int, ...]
"""Where in a document: keys and positions from the root."""


MOST_TOLD = 100


class DocumentError(ValueError):
    """A document that is refused; the message has a line for each problem, for the first hundred."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        told = [f"  {problem}" for problem in problems[:MOST_TOLD]]
        if len(problems) > MOST_TOLD:
            told.append(f"  and {len(problems) - MOST_TOLD:,} more")
        super().__init__("\n".join([f"{name} has {count}:", *told]))


class Document:
    """A parsed YAML text that knows where each of its parts stands."""

    def __init__(self, name: str, text: str) -> None:
        """Raises DocumentError if the text is not YAML, or no mapping."""
        self.name = name
        self.content: Any
        try:
            self._root, self.content = nodes.compose(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = "" if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}: "
            raise DocumentError(name, [f"{place}{getattr(error, 'problem', None) or error}"]) from error
        if not isinstance(self.content, dict):
            raise DocumentError(name, [f"{name}:1:1: a mapping of keys to values is expected"])

    def find(self, place: Place) -> tuple[str, int, int]:
        """(name, line, column) of a place, or of the nearest part above it."""
        node: Any = self._root
        for step in place:
            below = nodes.step(node, step)
            if below is None:
                break
            node = below
        return self.name, node.start_mark.line + 1, node.start_mark.column + 1

    def problem(self, place: Place, message: str) -> str:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
        at = ":".join(map(str, self.find(place)))
        return f"{at}: {path + ': ' if path else ''}{message}"

    def validate(self, model: type[Model], content: Any = None) -> Model:
        """The content as `model`, or what was made of it. Raises DocumentError with every problem."""
        try:
            return model.model_validate(self.content if content is None else content)
        except pydantic.ValidationError as error:
            raise DocumentError(self.name, [self.problem(*one) for one in faults(error)]) from error


def faults(error: pydantic.ValidationError) -> Iterator[tuple[Place, str]]:
    """(place, what is wrong) of each part of the document."""
    for detail in error.errors(include_url=False):
        message = detail["msg"].removeprefix("Value error, ")
        given = detail.get("input")
        if detail["type"] not in ("missing", "extra_forbidden") and isinstance(given, (str, int, float, bool)):
            message += f", not {given!r}"
        yield tuple(detail["loc"]), message
