"""YAML documents validated whole: every error at once, each with its line and column in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Model = TypeVar("Model", bound=pydantic.BaseModel)
Place = tuple[str | int, ...]
"""Where in a document: keys and positions from the root."""


class DocumentError(ValueError):
    """A document that is refused; the message has a line for each problem."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{name} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems))


class Document:
    """A parsed YAML text that knows where each of its parts stands."""

    def __init__(self, name: str, text: str) -> None:
        """Raises DocumentError if the text is not YAML, or no mapping."""
        self.name = name
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            node = yaml.compose(text, Loader=loader)
            self.content: Any = yaml.load(text, Loader=loader)  # noqa: S506  # both loaders are safe ones
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = "" if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}: "
            raise DocumentError(name, [f"{place}{getattr(error, 'problem', None) or error}"]) from error
        if not isinstance(self.content, dict):
            raise DocumentError(name, [f"{name}:1:1: a mapping of keys to values is expected"])
        self._root = node

    def at(self, place: Place) -> str:
        """`name:line:column` of a place, or of the nearest part above it."""
        node: Any = self._root
        for step in place:
            below = _step(node, step)
            if below is None:
                break
            node = below
        return f"{self.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def problem(self, place: Place, message: str) -> str:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
        return f"{self.at(place)}: {path + ': ' if path else ''}{message}"

    def validate(self, model: type[Model]) -> Model:
        """The content as `model`. Raises DocumentError with every problem."""
        try:
            return model.model_validate(self.content)
        except pydantic.ValidationError as error:
            raise DocumentError(self.name, list(self._problems(error))) from error

    def _problems(self, error: pydantic.ValidationError) -> Iterable[str]:
        for detail in error.errors(include_url=False):
            place = tuple(detail["loc"])
            message = detail["msg"].removeprefix("Value error, ")
            given = detail.get("input")
            if detail["type"] not in ("missing", "extra_forbidden") and isinstance(given, (str, int, float, bool)):
                message += f", not {given!r}"
            yield self.problem(place, message)


def _step(node: Any, step: str | int) -> Any:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]
    return None
