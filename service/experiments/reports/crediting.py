"""Clicks in interleaved slates, credited to the variant that brought the item in: each item of a slate once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from features.events.occurrences import identifier
from features.ids import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from duckdb import DuckDBPyConnection as Connection

    from service.experiments.reports.noted import Slot

CLICKED = "Promotion Clicked"
TABLES = """
create table if not exists drafted (decision bigint, item bigint, team smallint, arrival bigint);
create table if not exists clicks (decision bigint, item bigint, person bigint, time bigint, arrival bigint);
"""
# A credited item leaves the table, so that another click on it finds nothing.
CREDIT = """
create temp table credited as
  select d.decision, d.item, min(d.team) as team, first(c.person order by c.arrival) as person, min(c.time) as time
  from drafted d join clicks c using (decision, item) group by d.decision, d.item;
insert into waiting select person, team as measure, time, 1 as amount from credited;
delete from drafted using credited where drafted.decision = credited.decision and drafted.item = credited.item;
delete from clicks using credited where clicks.decision = credited.decision and clicks.item = credited.item;
drop table credited;
"""


def items_of(slots: list[Slot], experiment: str) -> Iterator[tuple[int, str]]:
    """(hash of placement and candidate, variant) of what an experiment's variants brought in."""
    for slot in slots:
        if slot.interleaved == experiment:
            yield from ((name_of(slot.id, item.id), item.team) for item in slot.items if item.team is not None)


def clicked(properties: dict[str, Any]) -> tuple[int, int] | None:
    """(decision, item) as hashes; None where a click does not say on what it was."""
    names = ("decision_id", "placement", "promotion_id")
    decision, placement, candidate = (identifier(properties.get(name)) for name in names)
    return (fingerprint(decision), name_of(placement, candidate)) if decision and placement and candidate else None


def name_of(placement: str, candidate: str) -> int:
    return fingerprint(f"{placement}\x1f{candidate}")


def fold(state: Connection, drafted: pa.Table, clicks: pa.Table, horizon: int) -> None:
    """Take up a batch: what is credited waits for its unit, as any outcome does."""
    state.execute(TABLES)
    for name, table in (("drafted", drafted), ("clicks", clicks)):
        state.register(f"new_{name}", table)
        state.execute(f"insert into {name} by name select * from new_{name}")  # noqa: S608  # names of our own
    state.execute(CREDIT)
    for name in ("drafted", "clicks"):
        state.execute(f"delete from {name} where arrival < ?", [horizon])  # noqa: S608
