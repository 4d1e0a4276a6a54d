"""The words that the catalog's document is made of: ids, amounts, durations, moments, expressions. They refuse what
no answer could carry.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

MOST = 1e12
"""Of any amount, so that products of amounts stay finite."""
LONGEST = timedelta(days=3650)
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
"""Of a duration, from the longest to the shortest."""
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
DURATION = r"^(?:\d{1,9}[dhms])+$"


class Part(BaseModel):
    """A mapping of the document: frozen, and with no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, use_attribute_docstrings=True)


def parse_duration(text: object) -> timedelta:
    """A duration such as 24h or 1d12h. Raises ValueError.

    >>> parse_duration("1d12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if not isinstance(text, str) or not re.match(DURATION, text):
        raise ValueError("a duration such as 24h, 30d or 90m is expected")
    pieces = re.findall(r"(\d+)([dhms])", text)
    duration = timedelta(**{UNITS[unit]: 0 for unit in UNITS})
    for number, unit in pieces:
        duration += timedelta(**{UNITS[unit]: int(number)})
    if not timedelta(0) < duration <= LONGEST:
        raise ValueError(f"a duration is longer than nothing, and at most {format_duration(LONGEST)}")
    return duration


def format_duration(duration: timedelta) -> str:
    """As `parse_duration` reads it.

    >>> format_duration(timedelta(hours=36)), format_duration(timedelta(seconds=90))
    ('1d12h', '1m30s')
    """
    hours, seconds = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    amounts = zip((duration.days, hours, minutes, seconds), UNITS, strict=True)
    return "".join(f"{amount}{unit}" for amount, unit in amounts if amount)


def _moment(given: object) -> datetime | date:
    """A day, or a time of day; without an offset it is in the catalog's time zone."""
    found = given
    if isinstance(given, str):
        try:
            found = date.fromisoformat(given) if len(given) == len("2026-11-23") else datetime.fromisoformat(given)
        except ValueError:
            found = None
    if not isinstance(found, date):
        raise ValueError("a day such as 2026-11-23, or a time such as 2026-11-23T08:00:00, is expected")
    if not 2000 <= found.year < 2200:
        raise ValueError("a year from 2000 to 2199 is expected")
    return found


def _worth(given: object) -> object:
    if isinstance(given, bool):
        raise ValueError("a number or an expression is expected")
    if isinstance(given, str) and NUMBER.fullmatch(given):
        given = float(given)  # 1e3 is a text to YAML
    if isinstance(given, (int, float)) and not (math.isfinite(given) and abs(given) <= MOST):
        raise ValueError(f"a number from {-MOST:g} to {MOST:g} is expected")
    if isinstance(given, str) and not 1 <= len(given) <= 2000:
        raise ValueError("an expression of 1 to 2000 characters is expected")
    return given


Id = Annotated[str, Field(min_length=1, max_length=256)]
Kind = Literal["offer", "content", "action"]
Word = Annotated[str, Field(min_length=1, max_length=256)]
"""A category, a tag, a channel: nothing declares it."""
Amount = Annotated[float, Field(ge=-MOST, le=MOST)]
Size = Annotated[float, Field(ge=0.0, le=MOST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Expression = Annotated[str, Field(min_length=1, max_length=2000)]
"""A text in CEL; what it may name is in `expressions`."""
Worth = Annotated[float | str, BeforeValidator(_worth)]
Locale = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*$")]
Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION, "examples": ["24h", "30d"]}),
]
Moment = Annotated[
    Any,
    PlainValidator(_moment),
    PlainSerializer(lambda moment: moment.isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["2026-11-23", "2026-11-23T08:00:00"]}),
]
