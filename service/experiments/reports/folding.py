"""How a batch of events changes the table of units: meetings join their views, the first clean one enrols, and
outcomes go to the days since. The order of batches matters, how events are cut into batches does not.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from features.archive.naming import DAY
from service.experiments.reports import crediting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection as Connection

    from service.experiments.reports.extraction import Extract
    from service.experiments.reports.trials import Trial

WAITS = 2 * DAY
"""How long a decision waits for its view, and a view for its decision."""
BEFORE = -1
"""The day of what was before the enrolment, within the lookback."""
TABLES = """
create table cursor (partition integer, arrival bigint);
create table read (path varchar);
create table told (name varchar, amount bigint);
create table decisions (decision bigint, unit bigint, person bigint, arm smallint, kind tinyint, chance double,
  segments varchar[], time bigint, arrival bigint);
create table views (decision bigint, time bigint, arrival bigint);
create table met (unit bigint, person bigint, arm smallint, kind tinyint, chance double, segments varchar[],
  time bigint, arrival bigint);
create table units (unit bigint, enrolled bigint);
create table owners (person bigint, unit bigint);
create table links (previous bigint, person bigint);
create table waiting (person bigint, measure smallint, time bigint, amount double);
create table totals (unit bigint, measure smallint, day integer, events bigint, amount double);
"""

# In what follows, 0 is CLEAN, -1 is BEFORE, and 86400000000 is DAY.
MEET = """
create temp table seen as
  select d.unit, d.person, d.arm, d.kind, d.chance, d.segments, v.time, greatest(d.arrival, v.arrival) as arrival,
         d.decision
  from (select decision, min(time) as time, min(arrival) as arrival from views group by decision) v
  join (select distinct on (decision) * from decisions order by decision, arrival) d using (decision)
  union all by name select unit, person, arm, kind, chance, segments, time, arrival, decision from flagged;
insert into met by name
  select unit, arm, kind, first(person order by arrival, time) as person,
         first(chance order by arrival, time) as chance,
         first(segments order by arrival, time) as segments, first(time order by arrival, time) as time,
         min(arrival) as arrival
  from seen anti join met using (unit, arm, kind) group by unit, arm, kind;
insert into owners
  select person, first(unit order by arrival, time) from seen anti join owners using (person)
  where kind = 0 group by person;
insert into units
  select unit, first(time order by arrival, time) from met anti join units using (unit)
  where kind = 0 group by unit;
delete from decisions using seen where decisions.decision = seen.decision;
delete from views using seen where views.decision = seen.decision;
drop table seen;
"""
JOIN = """
insert into owners
  select l.person, min(o.unit) from links l join owners o on o.person = l.previous
  where l.person not in (select person from owners) group by l.person;
insert into owners
  select l.previous, min(o.unit) from links l join owners o on o.person = l.person
  where l.previous not in (select person from owners) group by l.previous;
"""
COUNT = """
create temp table found as
  select w.*, u.unit, u.enrolled, m.lasts from waiting w join owners o using (person) join units u using (unit)
  join measures m using (measure);
insert into totals
  select unit, measure, case when time < enrolled then -1 else (time - enrolled) // 86400000000 end as day, count(*),
         sum(amount)
  from found where time >= enrolled - $lookback and (lasts is null or time < enrolled + lasts)
  group by unit, measure, day;
delete from waiting where person in (select person from found);
drop table found;
delete from waiting where time < $horizon - $lookback;
delete from decisions where arrival < $horizon;
delete from views where arrival < $horizon;
"""


def create(state: Connection, erased: int) -> None:
    """An empty state, after so many erasures."""
    with whole(state):
        state.execute(TABLES)
        state.execute("insert into told values ('erased', ?), ('unconverted', 0), ('last', 0)", [erased])


def is_whole(state: Connection, erased: int) -> bool:
    """Whether the state is one, and nobody was erased since it began."""
    found = state.execute("select count(*) from duckdb_tables() where table_name = 'told'").fetchone()
    return bool(found and found[0]) and read_told(state)["erased"] == erased


def read_told(state: Connection) -> dict[str, int]:
    """`unconverted` orders; `last`, the latest arrival; `erased`."""
    return dict(state.execute("select name, amount from told").fetchall())


@contextlib.contextmanager
def whole(state: Connection) -> Iterator[None]:
    """All of it, or nothing."""
    state.begin()
    try:
        yield
    except BaseException:
        state.rollback()
        raise
    state.commit()


def fold(state: Connection, trial: Trial, new: Extract) -> None:
    """Take up a batch."""
    lasts = [(at, measure.within) for at, measure in enumerate(trial.measures)]
    state.execute("create or replace temp table measures (measure smallint, lasts bigint)")
    state.executemany("insert into measures values (?, ?)", lasts)
    for name in ("decisions", "views", "links", "outcomes", "flagged"):
        state.register(f"new_{name}", getattr(new, name))
    state.execute("create or replace temp view flagged as select * from new_flagged")
    for name in ("decisions", "views", "links"):
        state.execute(f"insert into {name} by name select * from new_{name}")  # noqa: S608  # names of our own
    state.execute("insert into waiting by name select * from new_outcomes")
    last = _last(state, new)
    state.execute(MEET)
    state.execute(JOIN)
    if trial.is_interleaved:
        crediting.fold(state, new.drafted, new.clicks, last - WAITS)
    values: dict[str, Any] = {"lookback": trial.lookback, "horizon": last - WAITS}
    for statement in COUNT.split(";\n"):
        if statement.strip():
            state.execute(statement, {key: value for key, value in values.items() if f"${key}" in statement})
    state.execute("update told set amount = amount + ? where name = 'unconverted'", [new.unconverted])
    state.execute("update told set amount = ? where name = 'last'", [last])


def _last(state: Connection, new: Extract) -> int:
    import pyarrow.compute as pc

    arrivals = [pc.max(table["arrival"]).as_py() or 0 for table in (new.decisions, new.views, new.flagged)]
    return max(read_told(state)["last"], *arrivals)
