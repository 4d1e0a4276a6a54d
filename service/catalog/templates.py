"""Personalised texts: Jinja templates in a sandbox, checked when the catalog is read.

Only output, conditions and plain filters are open; loops, calls, assignments and names with an underscore in front are
refused, as is any variable that a decision does not have. A template of which a value is missing has no text at all.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service.catalog.vocabulary import VARIABLES, field_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILTERS = (
    *("upper", "lower", "capitalize", "title", "trim", "truncate", "replace", "escape", "e", "striptags"),
    *("default", "d", "round", "int", "float", "abs", "first", "last", "join", "length", "count", "string"),
)
TESTS = ("defined", "undefined", "number", "string", "none", "true", "false", "divisibleby", "even", "odd")
ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Name, nodes.Getattr),
    *(nodes.Getitem, nodes.Const, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or),
    *(nodes.Not, nodes.Concat, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.Neg, nodes.Keyword),
)
LONGEST = 10_000
"""Characters of a template."""


class TemplateError(ValueError):
    """A template that is refused."""


class MissingError(Exception):
    """A value is not there."""


class _Missing(jinja2.ChainableUndefined):
    """False in conditions, and no text: what would print it is not printed."""

    def _refuse(self, *_: object) -> NoReturn:
        raise MissingError

    __str__ = __len__ = __iter__ = _refuse
    __hash__ = jinja2.ChainableUndefined.__hash__


class _Sandbox(ImmutableSandboxedEnvironment):
    """Multiplies numbers only: a text times a billion is a way to end a process."""

    intercepted_binops = frozenset("*")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(one, (int, float)) for one in (left, right)):
            raise MissingError
        return super().call_binop(context, operator, left, right)


def _finish(value: Any) -> Any:
    """What is printed for a value; raises MissingError where there is nothing to print."""
    if value is None or isinstance(value, (jinja2.Undefined, list, tuple, dict)):
        raise MissingError
    if isinstance(value, str) and not value.strip():
        raise MissingError
    if isinstance(value, float):
        if not math.isfinite(value):
            raise MissingError
        return int(value) if value.is_integer() else float(f"{value:.12g}")  # 0.1 x 3 is 0.3 to people
    return value


def _environment() -> _Sandbox:
    sandbox = _Sandbox(undefined=_Missing, finalize=_finish, autoescape=False, keep_trailing_newline=True)
    sandbox.globals.clear()
    sandbox.filters = {name: sandbox.filters[name] for name in FILTERS}
    sandbox.tests = {name: sandbox.tests[name] for name in TESTS} | {
        name: test
        for name, test in sandbox.tests.items()
        if not name.isidentifier() or name in ("eq", "ne", "lt", "gt")
    }
    return sandbox


_SANDBOX = _environment()


def is_template(text: str) -> bool:
    return any(sign in text for sign in ("{{", "{%", "{#"))


@lru_cache(maxsize=16_384)
def compile_template(text: str) -> jinja2.Template:
    """Raises TemplateError, with all that is wrong."""
    if len(text) > LONGEST:
        raise TemplateError(f"a template has at most {LONGEST:,} characters")
    try:
        tree = _SANDBOX.parse(text)
        if problems := list(dict.fromkeys(_problems(tree))):
            raise TemplateError("; ".join(problems))
        return _SANDBOX.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"not a template: {error.message}") from error
    except RecursionError as error:
        raise TemplateError("not a template: nested too deep") from error


def render(template: jinja2.Template, values: Mapping[str, Any]) -> str | None:
    """The text; None if a value is missing, empty, or not what the template takes it for: use the fallback.

    `values` has features, traits, segments, context, placement and candidate, as far as they are known.
    """
    try:
        text = template.render(_present(values))
    except Exception:  # filters raise whatever their arguments make them raise, and a decision does not fail by it
        return None
    return text if text.strip() else None


def _present(value: Any) -> Any:
    """Without empty texts and nulls, so that they are missing to conditions and joints of texts, too."""
    if isinstance(value, dict):
        kept = ((name, _present(inner)) for name, inner in value.items())
        return {name: inner for name, inner in kept if inner is not None}
    if isinstance(value, str):
        return value if value.strip() else None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _problems(tree: nodes.Template) -> Iterator[str]:
    for node in _walk(tree):
        if not isinstance(node, ALLOWED):
            yield f"{type(node).__name__.lower()!r} is not open to templates"
        elif isinstance(node, nodes.Name) and node.name not in VARIABLES["template"]:
            yield f"there is no variable {node.name!r} here, only {', '.join(VARIABLES['template'])}"
        elif isinstance(node, nodes.Filter) and node.name not in FILTERS:
            yield f"there is no filter {node.name!r} here"
        elif isinstance(node, nodes.Test) and node.name not in TESTS:
            yield f"there is no test {node.name!r} here"
        elif isinstance(node, (nodes.Getattr, nodes.Getitem)):
            yield from _field(node)


def _field(node: nodes.Getattr | nodes.Getitem) -> Iterator[str]:
    if isinstance(node, nodes.Getattr):
        field: Any = node.attr
    elif isinstance(node.arg, nodes.Const):
        field = node.arg.value
    else:
        yield "what stands in [] is written out"
        return
    variable = node.node.name if isinstance(node.node, nodes.Name) else ""
    if isinstance(field, str) and (problem := field_problem(variable, field, "template")) is not None:
        yield problem


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)
