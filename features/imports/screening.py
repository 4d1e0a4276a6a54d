"""Rows into the table `accepted`, with what an event needs of each, and the table `rejected` with the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from features.events.occurrences import LONGEST_ID
from features.imports.expressions import FLOATS, NUMBERS, TIMES, Expressions, Resolved
from features.imports.mapping import UNIX
from features.imports.reading import OWN
from features.imports.sources import quote, quote_text

if TYPE_CHECKING:
    import duckdb

    from features.imports.mapping import Mapping

TEXTS = frozenset({"product_id", "sku", "promotion_id", "order_id", "category", "name"})
"""Properties that are text whatever their column's type: the catalog's ids and categories must match them."""
AMOUNT = "DECIMAL(38, 6)"
"""What sums are made of: exact, so that they do not depend on the order of the rows."""
OWN_COLUMNS = [quote(name) for name in OWN]
NO_TIME, NO_CUSTOMER, NO_EVENT, NO_PRODUCT = "no time", "no customer", "no event name", "no product_id"
FUTURE, LONG = "time in the future", f"customer longer than {LONGEST_ID}"


def screen(
    connection: duckdb.DuckDBPyConnection, mapping: Mapping, expressions: Expressions, files: int, now: int
) -> None:
    """Make the tables, of so many files. `now` in microseconds: later rows are rejected, unless all are shifted.

    `accepted` has `#file`, `#row`, `id` (the content's hash and how often it stood before), `customer`, `known`,
    `anonymous`, `time`, `event`, `body` (JSON members of the properties), `product` (a JSON object), `sum_<n>`,
    `by_<n>`, `item_<field>` for the catalog, and `ordinal`, the rows' order in time. Of a row that several files have,
    the first is accepted.
    """
    values = {
        "known": _identity(expressions.get("columns", "customer")),
        "anonymous": _identity(expressions.get("columns", "anonymous")),
        "time": _time(expressions.found["columns", "time"], mapping.time_format),
        "event": _event(mapping, expressions),
        "body": _members(expressions, "properties"),
    }
    if mapping.group is not None:
        values["product"] = f"'{{' || {_members(expressions, 'group', 'products')} || '}}'"
        for at, name in enumerate(mapping.group.sums):
            values[f"sum_{at}"] = f"TRY_CAST({expressions.found['group', 'sums', name].sql} AS {AMOUNT})"
        for at in range(len(mapping.group.by)):
            values[f"by_{at}"] = f"CAST({expressions.found['group', 'by', at].sql} AS VARCHAR)"
    for at in range(len(mapping.order_by)):
        values[f"order_{at}"] = expressions.found["order_by", at].sql
    if mapping.candidates is not None:
        values |= _item(expressions)
    reasons = _reasons(mapping, expressions, now)
    tests = {f"test_{at}": test for at, (test, _) in enumerate(reasons)}
    order = "".join(f"order_{at}, " for at in range(len(mapping.order_by)))
    # Named columns only, as a file may well have a `time` of its own. Materialised, else DuckDB computes again what is
    # derived wherever it is used.
    connection.execute(
        f"""
        CREATE TABLE screened AS
        SELECT "#file", "#row", "#hash" || '-' || "#again" AS id, coalesce(known, anonymous) AS customer,
            {", ".join(values)}, CASE {_whens(reasons)} END AS reason
        FROM (
            WITH "#rows" AS MATERIALIZED (FROM {expressions.rows})
            SELECT {", ".join(OWN_COLUMNS)}, {_aliased(values | tests)} FROM "#rows"
        );
        CREATE TABLE rejected AS SELECT "#file", "#row", reason FROM screened WHERE reason IS NOT NULL;
        CREATE TABLE accepted AS
        SELECT * EXCLUDE (reason), row_number() OVER (ORDER BY time, {order}"#file", "#row") AS ordinal
        FROM screened WHERE reason IS NULL
        {'QUALIFY row_number() OVER (PARTITION BY id ORDER BY "#file") = 1' if files > 1 else ""};
        DROP TABLE screened;
        """  # noqa: S608  # expressions that were checked, and names made here
    )


def _aliased(values: dict[str, str]) -> str:
    return ", ".join(f"{sql} AS {name}" for name, sql in values.items())


def _whens(reasons: list[tuple[str, str]]) -> str:
    return " ".join(f"WHEN test_{at} THEN {quote_text(reason)}" for at, (_, reason) in enumerate(reasons))


def _reasons(mapping: Mapping, expressions: Expressions, now: int) -> list[tuple[str, str]]:
    """What rejects a row, and how that is called; the first of them that applies is the row's reason."""
    who = [_identity(expressions.get("columns", name)) for name in ("customer", "anonymous")]
    customer, time = f"coalesce({', '.join(who)})", _time(expressions.found["columns", "time"], mapping.time_format)
    reasons = [(failed, f"{name} is not {mapping.types[name]}") for name, failed in expressions.type_failures.items()]
    reasons += [
        (f"{customer} IS NULL", NO_CUSTOMER),
        (f"length({customer}) > {LONGEST_ID}", LONG),
        (f"coalesce({time}, 0) <= 0", NO_TIME),
        (f"{_event(mapping, expressions)} IS NULL", NO_EVENT),
    ]
    if mapping.shift_to is None:
        reasons.append((f"{time} > {now}", FUTURE))
    reasons += [
        (f"({expressions.found['where', at, 'keep'].sql}) IS NOT TRUE", condition.reason)
        for at, condition in enumerate(mapping.where)
    ]
    if mapping.group is not None:
        product = _text(expressions.found["group", "products", "product_id"])
        reasons.append((f"coalesce(length({product}), {LONGEST_ID} + 1) > {LONGEST_ID}", NO_PRODUCT))
    return reasons


def _text(value: Resolved) -> str:
    """Text without blanks around it, NULL where nothing is left; whole numbers as 7, even where a column has 7.0."""
    sql = f"CAST({value.sql} AS VARCHAR)"
    if value.type == "JSON":
        sql = f"({value.sql} ->> '$')"
    elif value.is_a(FLOATS):
        whole = f"{value.sql} = trunc({value.sql}) AND abs({value.sql}) < 9e15"
        sql = f"CASE WHEN {whole} THEN CAST(CAST({value.sql} AS BIGINT) AS VARCHAR) ELSE {sql} END"
    return f"nullif(trim({sql}), '')"


def _identity(value: Resolved | None) -> str:
    return "CAST(NULL AS VARCHAR)" if value is None else _text(value)


def _time(value: Resolved, time_format: str | None) -> str:
    """Microseconds since the epoch; naive times are of the connection's zone."""
    if time_format in UNIX:
        return f"TRY_CAST(round(TRY_CAST({value.sql} AS DOUBLE) * {UNIX[time_format]}) AS BIGINT)"
    if time_format is not None:
        parsed = f"try_strptime(CAST({value.sql} AS VARCHAR), {quote_text(time_format)})"
        return f"epoch_us(CAST({parsed} AS TIMESTAMPTZ))"
    kind = "TIMESTAMPTZ"
    return f"epoch_us({'CAST' if value.is_a(TIMES) else 'TRY_CAST'}({value.sql} AS {kind}))"


def _event(mapping: Mapping, expressions: Expressions) -> str:
    event = mapping.columns.event
    if event.value is not None:
        return quote_text(event.value)
    text = _text(expressions.found["columns", "event"])
    if event.map is None:
        return text
    return f"CASE {text} {' '.join(f'WHEN {quote_text(k)} THEN {quote_text(v)}' for k, v in event.map.items())} END"


def as_json(value: Resolved) -> str:
    """A value as JSON, NULL where it is NULL or no number that JSON has."""
    if value.type == "JSON":
        return f"CASE WHEN json_type({value.sql}) <> 'NULL' THEN {value.sql} END"
    if value.is_a(FLOATS):
        return f"CASE WHEN isfinite({value.sql}) THEN to_json({value.sql}) END"
    return f"to_json({value.sql})"


def _members(expressions: Expressions, *above: str) -> str:
    """The members of a JSON object, without its braces; those that are NULL are left out."""
    members = []
    for place, value in expressions.found.items():
        if place[:-1] == above:
            name = str(place[-1])
            rendered = f"to_json({_text(value)})" if name in TEXTS else as_json(value)
            members.append(f"to_json({quote_text(name)}) || ':' || {rendered}")
    return f"concat_ws(',', {', '.join(members)})" if members else "''"


def _item(expressions: Expressions) -> dict[str, str]:
    """What the catalog says of the row's item; prices and values that are no numbers are left out."""
    found = {"item_id": _text(expressions.found["candidates", "id"])}
    for name in ("title", "category"):
        if (value := expressions.get("candidates", name)) is not None:
            found[f"item_{name}"] = _text(value)
    for name in ("price", "value"):
        if (value := expressions.get("candidates", name)) is not None:
            number = value.sql if value.is_a(NUMBERS) else f"TRY_CAST({value.sql} AS DOUBLE)"
            found[f"item_{name}"] = f"TRY_CAST({number} AS DOUBLE)"
    return found
