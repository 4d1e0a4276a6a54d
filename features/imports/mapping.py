"""The mapping document: what the columns of a file mean. Refuses unknown keys and SQL that does not parse.

An expression is the name of a column, or SQL (DuckDB's) over columns and what `derive` adds to them. Whether the
columns exist is known only with the files: see expressions.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from features.documents import Document, DocumentError

if TYPE_CHECKING:
    from pathlib import Path

Format = Literal["csv", "jsonl", "parquet"]
COLUMN_NAME = re.compile(r"[\w .\-/#]+")
"""What may be the name of a column although it does not parse as SQL."""
UNIX = {"unix_s": 1_000_000, "unix_ms": 1_000, "unix_us": 1}
"""`time_format` of numbers: microseconds in one of them."""


def _parse(text: str) -> str:
    if not text.strip():
        raise ValueError("a column or an SQL expression is expected")
    if not COLUMN_NAME.fullmatch(text):
        try:
            duckdb.SQLExpression(text)
        except duckdb.Error as error:
            raise ValueError(f"neither a column's name nor an SQL expression ({first_line(error)})") from error
    return text


def is_a_name(text: str) -> bool:
    """Whether it can only be meant as a column's: one word, or what is no SQL."""
    if re.fullmatch(r"[^\W\d]\w*", text.strip()):
        return text.strip().lower() not in ("true", "false", "null")
    try:
        duckdb.SQLExpression(text)
    except duckdb.Error:
        return True
    return False


def first_line(error: duckdb.Error) -> str:
    """What DuckDB says, without the error's kind, overloads and the lines that show the place in our statement."""
    text = re.split(r"\n\nLINE|\s*Candidate functions", str(error), maxsplit=1)[0]
    return " ".join(re.sub(r"^[\w ]+ Error: ", "", text).split())


def _name(text: str) -> str:
    if not text.strip() or text.startswith("#"):
        raise ValueError("a name is expected that is not empty and does not start with #")
    return text


Expression = Annotated[str, AfterValidator(_parse)]
Name = Annotated[str, AfterValidator(_name)]
Id = Annotated[str, Field(min_length=1, max_length=256)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class EventName(Part):
    """The event's name: one for all rows, or a column's value, translated where there is a `map`."""

    value: Id | None = None
    column: Expression | None = None
    map: dict[str, Id] | None = None
    """Rows with other values are rejected."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.column is None) or (self.map is not None and self.column is None):
            raise ValueError("a column is expected, or {value: NAME}, or {column: COLUMN, map: {VALUE: NAME}}")
        return self


def _event(given: Any) -> Any:
    return {"column": given} if isinstance(given, str) else given


class Columns(Part):
    """Who, when, what. The customer's key is the known id where there is one, else the anonymous one."""

    customer: Expression | None = None
    anonymous: Expression | None = None
    time: Expression
    event: Annotated[EventName, BeforeValidator(_event)]

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if self.customer is None and self.anonymous is None:
            raise ValueError("customer is required (or anonymous, where only visits are known)")
        return self


class Condition(Part):
    keep: Expression
    """Rows for which this is not true are rejected."""
    reason: Name


def _products(given: dict[str, str]) -> dict[str, str]:
    if "product_id" not in given:
        raise ValueError("product_id is expected among them")
    return given


class Group(Part):
    """Rows that are lines of one event, such as an order. A group has one customer and one event name in any case."""

    by: Annotated[list[Expression], Field(min_length=1)]
    products: Annotated[dict[Name, Expression], AfterValidator(_products)]
    """Properties of the entry that each row adds to `products`."""
    sums: dict[Name, Expression] = {}
    """Properties of the event that add up over the rows, such as `revenue`."""


class Placement(Part):
    id: Id
    limit: Annotated[int, Field(ge=1, le=100)] = 1
    shortlist: Annotated[int, Field(ge=1, le=1000)] = 1000


class Candidates(Part):
    """The items of the rows as a catalog: of each its latest known values. The default is the one seen most."""

    id: Expression
    kind: Literal["offer", "content", "action"] = "offer"
    title: Expression | None = None
    category: Expression | None = None
    price: Expression | None = None
    value: Expression | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    placement: Placement


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # the last: a folder of zones, as Europe is
        raise ValueError("a time zone like Europe/Berlin is expected") from error
    return name


def _delimiter(text: str) -> str:
    if len(text) != 1 or text in '"\r\n':
        raise ValueError("one character is expected")
    return text


class Mapping(Part):
    """The whole document."""

    format: Format | None = None
    """By the file's ending if left out."""
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    """Of CSV files."""
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = None
    """Of CSV files; if left out, the most frequent of , ; tab and | in the header."""
    types: dict[Name, Name] = {}
    """Column -> SQL type. Columns of CSV are text without. Rows whose value is not of the type are rejected."""
    derive: dict[Name, Expression] = {}
    """New columns, each may use those before it; NULL where the expression fails."""
    columns: Columns
    properties: dict[Name, Expression] = {}
    """Properties of the event; with `group`, of its first row. NULL is left out."""
    where: list[Condition] = []
    group: Group | None = None
    order_by: list[Expression] = []
    """The order of a customer's rows with equal times, before their order in the files."""
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Of times without an offset."""
    time_format: str | None = None
    """As strptime takes it, or unix_s, unix_ms, unix_us; if left out, ISO 8601."""
    shift_to: Literal["now"] | None = None
    """Move all times by the number of whole weeks that brings the newest closest to, and not after, now."""
    candidates: Candidates | None = None

    @model_validator(mode="after")
    def _distinct_properties(self) -> Self:
        taken = {"products", *self.group.sums} if self.group else set()
        if twice := sorted(taken & self.properties.keys()):
            raise ValueError(f"group already gives the event the property {', '.join(twice)}")
        return self


def read(path: Path) -> tuple[Document, Mapping]:
    """The mapping, and its document to name places in. Raises DocumentError with every problem at its place."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), [f"{path}: {error}"]) from error
    document = Document(str(path), text)
    return document, document.validate(Mapping)
