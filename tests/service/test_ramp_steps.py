"""A ramp without a service: what counts in a step, and how it goes on after whatever ended it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import yaml
from rich.console import Console

from features import archive
from features.events.schema import Decision, Event, Served, Slot, Track
from features.settings import Settings
from models import bundle
from models.bundle import CHAMPION, DEFAULT_NAME, write_alias
from models.ramped import read_ramps
from service.catalog import versions
from service.experiments.hashing import bucket
from service.ramps import beginning, driving, guarding, publishing, registrar, state
from service.ramps.counting import Table, buckets_of
from service.ramps.state import Plan, Ramp, RampError
from service.ramps.steering import Steering
from tests.service import shop

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.home import Home


def save(home: Home, version: str, gates: dict[str, Any]) -> None:
    described = msgspec.structs.replace(shop.describe(version), gates=gates)
    bundle.save(home.bundles / DEFAULT_NAME / version, described, shop.grow(1, 5))


HELD = {"skew": {"holds": True, "figure": "none", "bound": ""}}
FAILED = {"skew": {"holds": False, "figure": "candidate__price 3.00%", "bound": ""}}
CATALOG = "# mine\n" + yaml.safe_dump({name: shop.CATALOG[name] for name in ("placements", "candidates")})


@pytest.fixture
def ramping(home: Home) -> Settings:
    """Versions 1 to 3, of which the third failed a gate; 1 is the champion, 2 the challenger."""
    for version, gates in (("1", HELD), ("2", HELD), ("3", FAILED)):
        save(home, version, dict(gates))
    home.catalog.write_text(CATALOG)
    write_alias(home.bundles, DEFAULT_NAME, CHAMPION, "1")
    write_alias(home.bundles, DEFAULT_NAME, "challenger", "2")
    return Settings(home=home)


NOW = 1_790_000_000.0
FOUND = guarding.Look(units=100, beside=900, guards=[], mismatch=1.0, base=None)


def steer(settings: Settings, ramp: Ramp | None = None, now: float = NOW) -> Steering:
    ramp = ramp or beginning.begin(settings, DEFAULT_NAME, "challenger", Plan(units=100))
    return Steering(settings, ramp, lambda: now, lambda _: None)


def live(settings: Settings) -> dict[str, tuple[float | None, str]]:
    """Weights and status of the ramp's experiment as the catalog has them."""
    catalog, _ = versions.read(settings.home)
    found = [one for one in catalog.experiments if one.id.startswith("ramp-")]
    return {variant.id: (variant.weight, one.status) for one in found for variant in one.variants}


def test_a_ramp_begins_with_the_first_step_and_a_pause_keeps_everybody_where_they_were(ramping: Settings) -> None:
    driven = steer(ramping)
    driven.resume()
    assert live(ramping) == {"champion": (0.99, "running"), "challenger": (0.01, "running")}
    begun = driven.ramp
    assert (len(buckets_of(begun.fresh)), len(buckets_of(begun.control))) == (100, 9900)
    driven.pause()
    assert live(ramping)["challenger"] == (0.01, "stopped")
    again = steer(ramping, state.read(ramping.home, DEFAULT_NAME), NOW + 100.0)
    again.resume()
    assert live(ramping)["challenger"] == (0.01, "running")
    assert again.ramp == msgspec.structs.replace(begun, rested=100_000_000)


def test_a_step_up_moves_the_fewest_buckets_and_a_ramp_killed_around_it_comes_to_the_same(ramping: Settings) -> None:
    driven = steer(ramping)
    driven.resume()
    before = driven.ramp
    driven._step_up(FOUND)
    after = driven.ramp
    assert live(ramping)["challenger"] == (0.05, "running")
    assert set(buckets_of(before.ranges)) | set(buckets_of(after.fresh)) == set(buckets_of(after.ranges))
    assert (len(buckets_of(after.fresh)), len(buckets_of(after.ranges))) == (400, 500)
    undone = msgspec.structs.replace(after, began=0, ranges=before.ranges, fresh=before.fresh, control=before.control)
    again = steer(ramping, state.write(ramping.home, undone))  # killed after the publish, before that was kept
    again.resume()
    assert again.ramp == after


def test_what_others_do_to_its_experiment_or_its_aliases_ends_a_ramp(ramping: Settings) -> None:
    driven = steer(ramping)
    driven.resume()
    write_alias(ramping.home.bundles, DEFAULT_NAME, "challenger", "3")
    ended = driven.look()
    assert (ended.is_over, ended.ramp.ending) == (True, "taken back")
    assert ended.ramp.reason == "challenger names 3 instead of 2 meanwhile"
    assert ramping.home.catalog.read_text() == CATALOG
    assert state.read(ramping.home, DEFAULT_NAME) is None
    told = read_ramps(ramping.home.bundles, DEFAULT_NAME, "2")
    assert [(it.outcome, it.beside, it.experiment) for it in told] == [("taken back", "1", "ramp-offers-2-1")]


def test_an_experiment_that_somebody_stopped_stays_so_and_what_needs_a_registry_that_is_away_is_done_later(
    ramping: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = steer(ramping)
    driven.resume()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    publishing.set_share(ramping.home, driven.ramp, "stopped", NOW)
    with pytest.raises(RampError, match=r"`kairos models withdraw` failed: .*does not answer"):
        driven.look()
    assert ramping.home.catalog.read_text() == CATALOG
    left = state.read(ramping.home, DEFAULT_NAME)
    assert left is not None
    assert (left.ending, left.reason) == ("taken back", "somebody stopped its experiment")
    write_alias(ramping.home.bundles, DEFAULT_NAME, "challenger", None)
    assert steer(ramping, left).look().is_over
    assert len(read_ramps(ramping.home.bundles, DEFAULT_NAME, "2")) == 1


def test_ctrl_c_leaves_everybody_with_the_champion_and_says_so(
    ramping: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    driven = steer(ramping)
    with pytest.raises(KeyboardInterrupt):
        driving.drive(driven, Console(width=200), 1.0, rest=interrupt)
    assert live(ramping)["challenger"] == (0.01, "stopped")
    said = capsys.readouterr().out
    assert "waits: 0 of 100 units" in said
    assert "Paused at 1 %: the champion, version 1, serves everybody." in said
    write_alias(ramping.home.bundles, DEFAULT_NAME, "challenger", None)  # which spares the test a registry
    again = steer(ramping, state.read(ramping.home, DEFAULT_NAME))
    ended = driving.drive(again, Console(width=200), 1.0, back=True)
    assert (ended.ending, ended.reason) == ("taken back", "taken back by hand")
    assert live(ramping) == {}
    assert "Version 1 serves everybody" in capsys.readouterr().out


def test_a_catalog_that_cannot_be_published_is_told_and_tried_again(
    ramping: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    good, looks = ramping.home.catalog.read_text(), iter([False, True])

    def mend(_seconds: float) -> None:
        if next(looks):
            raise KeyboardInterrupt
        ramping.home.catalog.write_text(good)

    driven = steer(ramping)
    ramping.home.catalog.write_text("placements: [")
    with pytest.raises(KeyboardInterrupt):
        driving.drive(driven, Console(width=200), 1.0, rest=mend)
    said = capsys.readouterr().out
    assert "it is tried again at the next look" in said
    assert "waits: 0 of 100 units" in said


def without_challenger(settings: Settings) -> None:
    write_alias(settings.home.bundles, DEFAULT_NAME, "challenger", None)


def without_champion(settings: Settings) -> None:
    write_alias(settings.home.bundles, DEFAULT_NAME, CHAMPION, None)


def is_champion(settings: Settings) -> None:
    write_alias(settings.home.bundles, DEFAULT_NAME, CHAMPION, "2")


def failed_a_gate(settings: Settings) -> None:
    write_alias(settings.home.bundles, DEFAULT_NAME, "challenger", "3")


def in_the_way(settings: Settings) -> None:
    variants = [{"id": "a"}, {"id": "b", "model": "challenger"}]
    said = yaml.safe_load(CATALOG) | {"experiments": [{"id": "mine", "status": "running", "variants": variants}]}
    settings.home.catalog.write_text(yaml.safe_dump(said))


def nowhere(settings: Settings) -> None:
    said = yaml.safe_load(CATALOG)
    for placement in said["placements"]:
        placement["strategy"] = "fixed"
    settings.home.catalog.write_text(yaml.safe_dump(said))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            without_challenger,
            "there is no 'challenger' of 'offers' \\(champion is 1\\): kairos train --alias challenger",
        ),
        (without_champion, "has no champion to go beside: kairos models promote 2"),
        (is_champion, "version 2 of 'offers' is the champion already"),
        (failed_a_gate, "version 3 of 'offers' did not pass: skew \\(candidate__price 3.00%\\); --force"),
        (in_the_way, "the experiment 'mine' is running and says which model decides"),
        (nowhere, "no placement of the catalog lets the champion of 'offers' decide"),
    ],
)
def test_what_is_in_the_way_of_a_ramp_is_said_and_nothing_is_changed(
    ramping: Settings, make: Callable[[Settings], None], reason: str
) -> None:
    make(ramping)
    before = ramping.home.catalog.read_text()
    with pytest.raises(RampError, match=reason):
        steer(ramping)
    assert ramping.home.catalog.read_text() == before
    assert state.read(ramping.home, DEFAULT_NAME) is None


def test_one_ramp_of_a_model_is_under_way_and_one_process_drives_it(ramping: Settings) -> None:
    driven = steer(ramping)
    assert beginning.begin(ramping, DEFAULT_NAME, "challenger", Plan()) == driven.ramp
    with pytest.raises(RampError, match="a ramp of version 2 of 'offers' is under way, at 1%: take it back first"):
        beginning.begin(ramping, DEFAULT_NAME, "3", Plan(), force=True)
    with (
        state.alone(ramping.home, DEFAULT_NAME),
        pytest.raises(RampError, match="another process drives"),
        state.alone(ramping.home, DEFAULT_NAME),
    ):
        raise AssertionError


@pytest.mark.parametrize("steps", [(1.0,), (0.5, 0.2, 1.0), (0.0, 1.0), (0.5, 0.9), (0.5, 0.5, 1.0)])
def test_steps_that_do_not_go_from_something_to_all_are_refused(steps: tuple[float, ...]) -> None:
    with pytest.raises(RampError, match="steps ascend"):
        beginning.require_plan(Plan(steps=steps))


# What counts.


def decided(number: int, unit: str, ramp: Ramp, version: str, **more: Any) -> Decision:
    at = round(NOW * 1e6) + number
    arm = "challenger" if bucket(ramp.experiment, unit) in buckets_of(ramp.ranges) else "champion"
    slot = Slot(id="calm", limit=1, items=[Served(id="o-1", rank=1, priority=1.0, value=1.0)], rung="model")
    fields: dict[str, Any] = {"variants": {ramp.experiment: arm}, "placements": [slot], "unit": unit} | more
    return Decision(
        message_id=f"decision:d-{number}", decision_id=f"d-{number}", customer=unit, time=at, received=at, rung="model",
        took=2000, catalog_version=version, snapshot=0, snapshot_time=0, **fields,
    )  # fmt: skip


def said(number: int, event: str, of: int, placement: str = "calm") -> Track:
    at = round(NOW * 1e6) + number
    properties = {"decision_id": f"d-{of}", "placement": placement}
    return Track(
        message_id=f"t-{number}", customer="x", time=at, received=at, event=event, properties=properties
    )  # fmt: skip


def write(home: Home, events: list[Event]) -> None:
    archive.write(home.events, "0", archive.tabulate(0, [archive.entry(one.received, one) for one in events]))


def test_a_step_counts_its_own_decisions_of_units_that_had_the_champion_until_then(ramping: Settings) -> None:
    home, driven = ramping.home, steer(ramping)
    driven.resume()
    old = versions.read(home)[1]
    first_ones = driven.ramp.ranges
    driven._step_up(FOUND)
    ramp, version = driven.ramp, versions.read(home)[1]
    place = {name: bucket(ramp.experiment, name) for name in (f"u-{number}" for number in range(4000))}
    table = Table(home, 4, ramp)
    fresh = [name for name, at in place.items() if at in buckets_of(ramp.fresh)]
    control = [name for name, at in place.items() if table._arm_of.get(at) == 0]
    earlier = next(name for name, at in place.items() if at in buckets_of(first_ones))
    broken = Slot(id="calm", limit=1, items=[], rung="prior")
    write(
        home,
        [
            decided(1, fresh[0], ramp, version),
            said(2, "Promotion Viewed", 1),
            said(3, "Promotion Clicked", 1),
            said(4, "Promotion Clicked", 1),  # told twice
            decided(5, control[0], ramp, version, placements=[broken]),
            said(6, "Promotion Clicked", 5),  # never seen
            decided(7, fresh[0], ramp, version),
            said(8, "Promotion Viewed", 7, "elsewhere"),
            decided(9, earlier, ramp, version),  # had the challenger before
            decided(10, fresh[1], ramp, old),  # another step
            decided(11, fresh[1], ramp, version, forced=[ramp.experiment]),
            decided(12, fresh[1], ramp, version, bot=True),
            decided(13, fresh[1], ramp, version, unassigned=True),
            decided(14, fresh[1], ramp, version, audience="a"),
            decided(15, fresh[1], ramp, version, variants={}),
            said(16, "Promotion Viewed", 17),  # arrives before its decision
        ],
    )
    partly = table.grow()
    assert (partly.arm.tolist(), partly.totals.tolist()) == ([1, 0], [[2, 0, 4000, 1, 1], [1, 1, 2000, 0, 0]])
    assert partly.chance == pytest.approx(400 / (400 + len([1 for arm in table._arm_of.values() if arm == 0])))
    write(home, [decided(17, fresh[2], ramp, version), said(18, "Promotion Clicked", 17)])
    whole = table.grow()
    assert whole.totals.tolist() == [*partly.totals.tolist(), [1, 0, 2000, 1, 1]]
    at_once = Table(home, 4, ramp).grow()
    assert np.array_equal(whole.totals, at_once.totals)
    assert registrar.stands(home, ramp) == ""
