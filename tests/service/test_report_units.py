"""The table of units that a report grows from the archive: who is enrolled, who is left out, what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from features import archive
from service.experiments.reports import growing, reporting
from tests.service.experimenting import (
    DAY,
    HOUR,
    SECOND,
    START,
    catalog,
    click,
    decision,
    joined,
    meet,
    order,
    shop,
    track,
    trial,
    view,
    write,
)

if TYPE_CHECKING:
    from features.events.schema import Event
    from features.home import Home
    from service.experiments.reports.units import Units

PLAIN, BOLD = 0, 1
CLICKS, SPEND, ITEMS, ORDERS = range(4)


def counted(home: Home, events: list[Event], **analysis: Any) -> Units:
    write(home, events)
    return reporting.load(home, trial(analysis))


def comparable(units: Units) -> list[Any]:
    """All that a report goes by, in an order of its own."""
    order_of = np.lexsort((units.amount[SPEND], units.enrolled))
    rows = [units.arm, units.enrolled, units.chance, *units.events, *units.amount, *units.events_before]
    daily = sorted(zip(*(np.asarray(each).tolist() for each in units.daily[1:]), strict=True))
    return [[each[order_of].round(6).tolist() for each in rows], daily, units.left_out, units.unconverted, units.until]


def test_the_first_view_of_the_placement_enrols_in_every_arm_and_a_decision_alone_nobody(home: Home) -> None:
    units = counted(
        home,
        [
            *meet(1, "a", START, "plain"),
            *meet(2, "b", START, "bold"),
            decision(3, "c", START, "bold"),
            decision(4, "d", START, "bold"),
            view(4, "d", START + SECOND, placement="foot"),
            *meet(5, "e", START, None),
        ],
    )
    assert sorted(units.arm.tolist()) == [PLAIN, BOLD]
    assert set(units.enrolled.tolist()) == {START + SECOND}


def test_units_that_met_two_variants_forced_ones_bots_and_unassigned_are_left_out_and_counted(home: Home) -> None:
    units = counted(
        home,
        [
            *meet(1, "a", START, "plain"),
            *meet(2, "a", START + HOUR, "bold"),
            *meet(3, "b", START, "bold", forced=["hero-test"]),
            *meet(4, "b", START + HOUR, "plain"),
            *meet(5, "c", START, None, bot=True),
            *meet(6, "d", START, None, unassigned=True),
            *meet(7, "e", START, None, unassigned=True),
            *meet(8, "e", START + HOUR, "bold"),
            *meet(9, "f", START, "plain", forced=["another"]),
        ],
    )
    assert sorted(units.arm.tolist()) == [PLAIN, BOLD]
    assert units.met_arm.tolist().count(PLAIN) == 2
    assert msgspec.structs.asdict(units.left_out) == {
        "met_two": 1,
        "forced": 1,
        "bots": 1,
        "unassigned": 1,
        "merged": 0,
    }


def test_outcomes_count_from_the_enrolment_on_and_before_it_in_the_lookback(home: Home) -> None:
    units = counted(
        home,
        [
            order("a", START - 20 * DAY, 70.0),
            order("a", START - 2 * DAY, 30.0),
            click("a", START - HOUR),
            *meet(1, "a", START, "bold"),
            click("a", START + 2 * SECOND, placement="foot"),
            click("a", START + 3 * SECOND),
            order("a", START + DAY, 40.0),
            order("a", START + DAY + HOUR, 80.0),
            track("a", START + 2 * DAY, "Order Refunded", {"total": 30.0}),
            order("a", START + DAY + HOUR, 500.0, currency="USD"),
            order("stranger", START + DAY, 60.0),
        ],
    )
    assert units.events[CLICKS].tolist() == [1]
    assert units.amount[SPEND].tolist() == [90.0]
    assert units.events_before[CLICKS].tolist() == [1]
    assert units.amount_before[SPEND].tolist() == [30.0]
    assert units.unconverted == 1
    _, measure, day, _, amount = units.daily
    assert sorted(zip(day[measure == SPEND].tolist(), amount[measure == SPEND].tolist(), strict=True)) == [
        (0, 40.0),
        (1, 50.0),
    ]


def test_a_metric_within_a_time_counts_only_that_and_only_units_whose_time_is_over(home: Home) -> None:
    metrics = [{"id": "orders", "kind": "mean", "event": "Order Completed", "within": "2d"}]
    units = counted(
        home,
        [
            *meet(1, "a", START, "plain"),
            order("a", START + DAY, 10.0),
            order("a", START + 3 * DAY, 10.0),
            *meet(2, "b", START + 2 * DAY, "bold"),
            order("b", START + 2 * DAY + HOUR, 10.0),
            *meet(3, "c", START + 3 * DAY, "bold"),
        ],
        metrics=metrics,
    )
    report = reporting.summarise(trial({"metrics": metrics}), units, over=False)
    assert {value.variant: value.units for value in report.metrics[0].values} == {"plain": 1, "bold": 0}
    assert units.events[0].sum() == 2


@pytest.mark.parametrize("second", ["bold", "plain"])
def test_two_units_that_turn_out_to_be_one_person_met_two_variants_or_count_once(home: Home, second: str) -> None:
    units = counted(
        home,
        [
            *meet(1, "device", START, "plain"),
            *meet(2, "known", START + HOUR, second),
            order("known", START + 2 * HOUR, 10.0),
            joined("device", "known", START + 3 * HOUR),
            order("known", START + 4 * HOUR, 10.0),
        ],
    )
    if second == "bold":
        assert (len(units.arm), units.left_out.met_two) == (0, 2)
    else:
        assert (len(units.arm), units.left_out.merged) == (1, 1)
        assert units.amount[SPEND].tolist() == [20.0]
        assert units.enrolled.tolist() == [START + SECOND]


def test_a_unit_keeps_its_orders_when_it_gets_another_id(home: Home) -> None:
    units = counted(
        home,
        [
            order("device", START - DAY, 5.0),
            *meet(1, "device", START, "bold"),
            joined("device", "known", START + HOUR),
            order("known", START + 2 * HOUR, 10.0),
            *meet(2, "known", START + 3 * HOUR, "bold", unit="device"),
            order("known", START + 4 * HOUR, 20.0),
        ],
    )
    assert units.amount[SPEND].tolist() == [30.0]
    assert units.amount_before[SPEND].tolist() == [5.0]


def test_anonymous_units_are_devices_whoever_signs_in(home: Home) -> None:
    write(
        home,
        [
            *meet(1, "a-1", START, "bold", anonymous_id="a-1"),
            joined("a-1", "known", START + HOUR),
            track("known", START + DAY, "Promotion Clicked", {"placement": "hero"}, anonymous_id="a-1"),
            *meet(2, "known", START + DAY, "plain", anonymous_id="a-2"),
            decision(3, "server", START, "plain"),
            view(3, "server", START + SECOND),
        ],
    )
    units = reporting.load(home, trial(unit="anonymous"))
    assert sorted(zip(units.arm.tolist(), units.events[CLICKS].tolist(), strict=True)) == [(PLAIN, 0), (BOLD, 1)]
    assert units.left_out.met_two == 0


def test_a_flag_enrols_by_the_event_that_says_so(home: Home) -> None:
    told = {"experiment_id": "hero-test", "variation_id": "bold"}
    units = counted(
        home,
        [
            track("a", START, "Experiment Viewed", told),
            track("a", START + HOUR, "Experiment Viewed", told),
            track("b", START, "Experiment Viewed", told | {"variation_id": "plain"}),
            track("c", START, "Experiment Viewed", told | {"variation_id": "no such"}),
            track("d", START, "Experiment Viewed", told | {"experiment_id": "other"}),
            click("a", START + 2 * HOUR),
        ],
    )
    assert sorted(zip(units.arm.tolist(), units.events[CLICKS].tolist(), strict=True)) == [(PLAIN, 0), (BOLD, 1)]


def test_a_flag_counts_with_the_chance_that_it_had_whatever_the_weights_are_now(home: Home) -> None:
    even, uneven = [{"id": "plain"}, {"id": "bold"}], [{"id": "plain", "weight": 0.8}, {"id": "bold", "weight": 0.2}]
    home.catalogs.mkdir(parents=True)
    for name, at, document in (
        ("v1", START, catalog(variants=even)),
        ("v2", START + DAY, catalog(variants=uneven)),
        ("v3", START + 2 * DAY, catalog(variants=uneven, status="stopped")),
    ):
        (home.catalogs / f"{name}.yaml").write_bytes(msgspec.yaml.encode(document))
        with (home.catalogs / "history.jsonl").open("ab") as file:
            file.write(msgspec.json.encode({"version": name, "time": at}) + b"\n")
    told = {"experiment_id": "hero-test", "variation_id": "bold"}
    times = (1, DAY - 1, DAY + 1, 2 * DAY + HOUR)
    write(home, [track(f"c-{at}", START + at, "Experiment Viewed", told) for at in times])
    units = reporting.load(home, trial(variants=uneven, status="stopped"))
    assert sorted(units.chance.tolist()) == pytest.approx([0.2, 0.5, 0.5])  # and nobody after it was stopped


def test_a_flag_whose_weights_move_enrols_with_the_chance_that_its_event_tells(home: Home) -> None:
    told = {"experiment_id": "hero-test", "variation_id": "bold"}
    said = [0.5, 0.9, "0.9", None, 0, -1, 1e-9, 7, "x"]
    write(
        home, [track(f"c-{at}", START + at, "Experiment Viewed", told | {"chance": one}) for at, one in enumerate(said)]
    )
    moves = [{"since": START, "weights": [0.1, 0.9]}]
    units = reporting.load(home, trial(allocation={"kind": "thompson"}, moves=moves))
    assert sorted(units.chance.tolist()) == [0.5, 0.9, 0.9]
    assert units.left_out.unassigned == 6


def test_decisions_enrol_only_while_the_experiment_ran_and_with_the_shares_of_their_catalog(home: Home) -> None:
    home.catalogs.mkdir(parents=True)
    versions = {
        "v1": catalog(variants=[{"id": "plain", "weight": 0.8}, {"id": "bold", "weight": 0.2}]),
        "v2": catalog(),
        "v3": catalog(status="rolled_out", rolled_out="bold"),
    }
    for name, document in versions.items():
        (home.catalogs / f"{name}.yaml").write_bytes(msgspec.yaml.encode(document))
    units = counted(
        home,
        [
            *meet(1, "a", START, "bold", catalog_version="v1"),
            *meet(2, "b", START + HOUR, "bold", catalog_version="v2"),
            *meet(3, "c", START + DAY, "bold", catalog_version="v3"),
            *meet(4, "d", START + DAY, "plain", catalog_version="unknown", chances={"hero-test": 0.3}),
        ],
    )
    assert sorted(units.chance.tolist()) == pytest.approx([0.2, 0.3, 0.5])


@pytest.mark.parametrize("pieces", [2, 7])
def test_growing_piece_by_piece_ends_where_reading_at_once_ends(home: Home, pieces: int) -> None:
    events = sorted(shop(customers=150, days=5), key=lambda event: event.received)
    events += [joined(f"c-{at}", f"c-{at + 1}", events[-1].received + at + 1) for at in range(0, 20, 2)]
    asked = trial({"segments": ["device"]})
    for piece in np.array_split(np.array(events, dtype=object), pieces):
        for partition in (0, 1):  # the views of a customer may lie elsewhere than the decisions
            part = [event for event in piece.tolist() if (event.received // SECOND) % 2 == partition]
            if part:
                write(home, part, partition)
        growing_now = reporting.load(home, asked)
    growing.forget(home)
    assert not list((home.root / "experiments").glob("*.duckdb"))
    assert comparable(growing_now) == comparable(reporting.load(home, asked))


def test_a_second_report_reads_only_what_is_new_also_after_files_were_merged(home: Home) -> None:
    events = sorted(shop(customers=60), key=lambda event: event.received)
    read: list[int] = []
    write(home, events[:100])
    reporting.load(home, trial(), read.append)
    assert sum(read) == 100
    read.clear()
    reporting.load(home, trial(), read.append)
    assert sum(read) == 0
    write(home, events[100:])
    archive.compact(home.archive, START + 30 * DAY)
    reporting.load(home, trial(), read.append)
    assert sum(read) == len(events) - 100


def test_imported_orders_count_whenever_they_come(home: Home) -> None:
    write(home, [*meet(1, "a", START, "bold")])
    assert reporting.load(home, trial()).amount[SPEND].tolist() == [0.0]
    entries = [
        archive.entry(event.received, event)
        for event in [order("a", START + HOUR, 25.0), order("a", START - HOUR, 5.0)]
    ]
    archive.write(home.events, "import-abc", archive.tabulate(archive.IMPORTED, entries))
    for _ in range(2):
        units = reporting.load(home, trial())
        assert units.amount[SPEND].tolist() == [25.0]
        assert units.amount_before[SPEND].tolist() == [5.0]


def test_erasing_anybody_makes_the_table_anew(home: Home) -> None:
    write(home, [*meet(1, "a", START, "bold"), *meet(2, "b", START, "plain")])
    assert len(reporting.load(home, trial()).arm) == 2
    archive.erase(home.archive, {"a"})
    assert reporting.load(home, trial()).arm.tolist() == [PLAIN]


def test_an_experiment_that_is_analysed_otherwise_is_read_anew_and_leaves_no_old_table(home: Home) -> None:
    write(home, [order("a", START - 10 * DAY, 7.0), *meet(1, "a", START, "bold")])
    assert reporting.load(home, trial()).amount_before[SPEND].tolist() == [7.0]
    assert reporting.load(home, trial({"lookback": "5d"})).amount_before[SPEND].tolist() == [0.0]
    assert len(list((home.root / "experiments").glob("*.duckdb"))) == 1


def test_a_table_that_was_cut_short_is_made_anew(home: Home) -> None:
    write(home, [*meet(1, "a", START, "bold")])
    reporting.load(home, trial())
    for path in (home.root / "experiments").glob("*.duckdb"):
        path.write_bytes(path.read_bytes()[:2000])
    assert len(reporting.load(home, trial()).arm) == 1


def test_a_late_decision_finds_the_view_that_waited_for_it(home: Home) -> None:
    write(home, [view(1, "a", START)])
    reporting.load(home, trial())
    late = msgspec.structs.replace(decision(1, "a", START - SECOND, "bold"), received=START + HOUR)
    write(home, [late])
    units = reporting.load(home, trial())
    assert (units.arm.tolist(), units.enrolled.tolist()) == ([BOLD], [START])
