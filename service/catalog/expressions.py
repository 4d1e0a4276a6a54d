"""Rules and values in CEL: compiled when the catalog is read. Refused are those that name what no decision has, whose
types cannot fit, or whose loops could take long.
"""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cel
import msgspec

from service.catalog.vocabulary import CANDIDATE, FUNCTIONS, VARIABLES, field_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.catalog.vocabulary import Use

TOKENS = re.compile(
    r"//[^\n]*|(?P<text>[rRbB]{0,2}(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"))"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>[^\s\w])",
    re.DOTALL,
)
PLAIN = re.compile(r"'[^'\\\\]*'|\"[^\"\\\\]*\"")
"""A text without anything that stands for something else."""
MOST_LOOPS = 2
"""In one expression: each may stand in the other."""
OPEN = frozenset(("traits", "context"))
"""Variables with whatever fields a request gives them."""
MACROS = frozenset(("all", "exists", "exists_one", "filter", "map"))
EXAMPLES = (0.0, 1.0, 1e9)
"""Of every feature at once, so that both sides of a comparison are tried."""


class ExpressionError(ValueError):
    """An expression that is refused."""


class Formula(msgspec.Struct, frozen=True):
    """A compiled expression."""

    text: str
    program: cel.Program
    variables: frozenset[str]
    """What it names, of VARIABLES: a context needs no others."""
    features: tuple[str, ...]
    """Names of the features that it reads."""
    parts: dict[str, frozenset[str] | None] = {}
    """Of `traits` and `context`, the fields that it names; None where it may read any."""

    def evaluate(self, context: Mapping[str, Any]) -> Any:
        """Raises what the library does: KeyError for what is not there, TypeError for operands that do not fit."""
        return self.program.execute(dict(context))


@lru_cache(maxsize=16_384)
def compile_formula(text: str, use: Use) -> Formula:
    """Raises ExpressionError, with all that is wrong."""
    try:
        program = cel.compile(text)
    except ValueError as error:
        raise ExpressionError(_first_line(error)) from error
    tokens = [(match.lastgroup or "", match.group()) for match in TOKENS.finditer(text) if match.lastgroup]
    loops = list(_bound(tokens))
    bound = {name for _, name in loops}
    named = frozenset(program.variables()) - bound
    features: list[str] = []
    problems = [
        f"there is no {name!r} here, only {', '.join(VARIABLES[use])}" for name in sorted(named - {*VARIABLES[use]})
    ]
    problems += [
        f"there is no function {name!r}"
        for name in program.functions()
        if name.isidentifier() and not name.startswith("_") and name not in FUNCTIONS
    ]
    if len(loops) > MOST_LOOPS:
        problems.append(f"at most {MOST_LOOPS} of {', '.join(sorted(MACROS))} may stand in an expression")
    for variable, field in _fields(tokens):
        if field is None:
            problems.append(f"{variable!r} is followed by the name of one of its fields")
        elif (problem := field_problem(variable, field, use)) is not None:
            problems.append(problem)
        elif variable == "features":
            features.append(field)
    if problems:
        raise ExpressionError("; ".join(dict.fromkeys(problems)))
    parts = {name: _parts(tokens, name) for name in sorted(named & OPEN)}
    formula = Formula(text, program, named, tuple(sorted(set(features))), parts)
    _try(formula, use)
    return formula


def _fields(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str | None]]:
    """(variable, field) wherever a field of the features or the candidate is named."""
    for at, (kind, text) in enumerate(tokens):
        if kind != "name" or text not in ("features", "candidate") or (at and tokens[at - 1][1] == "."):
            continue
        following = [*tokens[at + 1 : at + 4], *[("", "")] * 3]
        (_, sign), (named, field), (_, end) = following[:3]
        if sign == "." and named == "name":
            yield text, field
        elif sign == "[" and named == "text" and end == "]":
            yield text, field[1:-1]
        else:
            yield text, None


def _parts(tokens: list[tuple[str, str]], variable: str) -> frozenset[str] | None:
    """The fields of a variable that are named; None if it also stands without one."""
    found: set[str] = set()
    for at, (kind, text) in enumerate(tokens):
        if kind != "name" or text != variable or (at and tokens[at - 1][1] == "."):
            continue
        (_, sign), (named, field), (_, end) = [*tokens[at + 1 : at + 4], *[("", "")] * 3][:3]
        if sign == "." and named == "name" and end != "(":
            found.add(field)
        elif sign == "[" and named == "text" and end == "]" and PLAIN.fullmatch(field):
            found.add(field[1:-1])
        else:
            return None
    return frozenset(found)


def unite(formulas: Iterable[Formula]) -> dict[str, frozenset[str] | None]:
    """The parts of all together."""
    united: dict[str, frozenset[str] | None] = {}
    for name, fields in (part for formula in formulas for part in formula.parts.items()):
        before = united.get(name, frozenset())
        united[name] = None if fields is None or before is None else before | fields
    return united


def _bound(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(macro, name) of the names that macros such as `list.exists(x, ...)` give."""
    for (_, macro), (_, opening), (kind, name), (_, comma) in zip(*(tokens[n:] for n in range(4)), strict=False):
        if macro in MACROS and opening == "(" and kind == "name" and comma == ",":
            yield macro, name


def _try(formula: Formula, use: Use) -> None:
    """Evaluate with examples. What is missing in them says nothing; types that do not fit do."""
    candidate, now = dict(CANDIDATE), datetime(2026, 1, 1, tzinfo=UTC)
    for number, segments in itertools.product(EXAMPLES, ([], ["a"])):
        known: dict[str, Any] = {
            "features": dict.fromkeys(formula.features, number),
            "segments": segments,
            "candidate": candidate,
        }
        known |= {"traits": {}, "context": {}, "placement": "a", "now": now}
        try:
            result = formula.evaluate({name: known[name] for name in formula.variables})
        except (KeyError, ArithmeticError, IndexError):
            continue  # a trait that an example has not, or a division by zero
        except TypeError as error:
            raise ExpressionError(
                "the types do not fit (beside a feature, a price or a value, a number is written with a point, as 2.0)"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise ExpressionError(_first_line(error)) from error
        judges = use in ("rule", "targeting")
        wanted = "true or false" if judges else "a number"
        if isinstance(result, bool) != judges or not isinstance(result, (bool, int, float)):
            raise ExpressionError(f"{wanted} is expected, and this gives {type(result).__name__}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
