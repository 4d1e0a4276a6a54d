"""Weights that move: which bind whom, how they move by what the archive says, and what of them is refused."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from features.events.schema import Decision, decode, encode
from service.catalog import reading, versions
from service.catalog.compiled import compile_catalog
from service.catalog.experiments import Move
from service.catalog.reading import Known
from service.catalog.schema import Catalog
from service.decisions.choose import choose
from service.decisions.deviations import compare
from service.decisions.replaying import record_again
from service.experiments.allocation import moving, role, times
from service.experiments.assignment import Units, assign, tabulate
from service.experiments.inference import thompson
from tests.service import experimenting
from tests.service.experimenting import START, write
from tests.service.test_experiment_catalog import PAIR, problems, said
from tests.service.test_experiment_decisions import arm, asked, logged, running

if TYPE_CHECKING:
    from features.home import Home
    from service.experiments.assignment import Assigned, Table

DAY = 86_400_000_000
BEGIN = 1_800_000_000_000_000
"""Friday, 2027-01-15T08:00 UTC."""
MOVES = [
    {"since": BEGIN + DAY, "weights": [0.3, 0.7]},
    {"since": BEGIN + 2 * DAY, "weights": [0.1, 0.9]},
]
BANDIT: dict[str, Any] = {
    "id": "hero",
    "status": "running",
    "variants": PAIR,
    "allocation": {"kind": "thompson"},
    "starts": "2027-01-15T08:00:00Z",
}


def table(**changed: Any) -> Table:
    document = {"placements": [{"id": "calm", "default": "o-0"}], "candidates": [{"id": "o-0"}]}
    return tabulate(Catalog.model_validate(document | {"experiments": [BANDIT | {"moves": MOVES} | changed]}))


def given(of: Table, unit: str, seen: int, now: int) -> Assigned:
    return assign(of, Units(unit, "", seen), now, lambda _: True, {}, lambda _: True)


def test_units_get_the_weights_of_the_time_when_they_were_seen_first() -> None:
    of = table()
    for day, expected in enumerate((0.5, 0.7, 0.9)):
        seen = BEGIN + day * DAY + 5
        told = [given(of, f"c-{number}", seen, seen) for number in range(4000)]
        bold = [one for one in told if one.variants["hero"] == "bold"]
        assert len(bold) / len(told) == pytest.approx(expected, abs=0.03)
        assert {one.chances["hero"] for one in bold} == {expected}
        assert {round(one.chances["hero"] + expected, 9) for one in told if one not in bold} == {1.0}


def test_a_unit_keeps_its_variant_and_its_chance_whatever_the_weights_become() -> None:
    of, before = table(), table(moves=MOVES[:1])
    for number in range(500):
        unit, seen = f"c-{number}", BEGIN + number * 2 * DAY // 500
        first = given(before, unit, seen, seen)
        for later in (DAY, 30 * DAY):
            again = given(of, unit, seen, seen + later)
            assert (again.variants, again.chances) == (first.variants, first.chances)


def test_who_was_known_before_comes_in_at_once_or_at_a_moment_of_their_own() -> None:
    at_once = table()
    assert given(at_once, "old", BEGIN - DAY, BEGIN + 9 * DAY).chances == {"hero": 0.5}
    spread = table(allocation={"kind": "thompson", "returning": "3d"})
    chances: dict[float, int] = {}
    for number in range(3000):
        unit = f"c-{number}"
        told = [given(spread, unit, BEGIN - DAY, BEGIN + hour * DAY // 24) for hour in range(1, 74, 6)]
        met = [one for one in told if one.variants]
        assert met, "within the three days everybody has come in"
        assert len({(one.variants["hero"], one.chances["hero"]) for one in met}) == 1
        if met[0].variants["hero"] == "bold":
            chances[met[0].chances["hero"]] = chances.get(met[0].chances["hero"], 0) + 1
    assert sorted(chances) == [0.5, 0.7, 0.9]
    assert [chances[key] / 1000 for key in sorted(chances)] == pytest.approx(sorted(chances), abs=0.06)
    assert given(spread, "c-1", 0, BEGIN).variants == {}
    assert given(spread, "fresh", BEGIN + 2 * DAY, BEGIN + 2 * DAY).variants


def test_visitors_are_bound_by_when_they_were_seen_first_whoever_they_turn_out_to_be() -> None:
    of = table(unit="anonymous")
    for number in range(300):
        visitor, came = f"a-{number}", BEGIN + number * 3 * DAY // 300
        first = assign(of, Units(visitor, visitor, came, came), came, lambda _: True, {}, lambda _: True)
        for customer, seen in (("c-1", BEGIN - DAY), (f"c-{number}", came + DAY)):
            units = Units(customer, visitor, seen, came)
            later = assign(of, units, BEGIN + 9 * DAY, lambda _: True, {}, lambda _: True)
            assert (later.variants, later.chances) == (first.variants, first.chances)


def test_fewer_units_keep_the_chances_exact() -> None:
    of = table(share=0.1)
    told = [given(of, f"c-{number}", BEGIN + DAY, BEGIN + DAY) for number in range(5000)]
    assert sum(bool(one.variants) for one in told) / 5000 == pytest.approx(0.1, abs=0.02)
    assert {one.chances["hero"] for one in told if one.variants} == {0.3, 0.7}


def test_decisions_log_the_chance_and_are_made_again_to_the_bit() -> None:
    moves = [{"since": BEGIN - 90_000_000, "weights": [0.2, 0.8]}]
    of = running({"exploration": 0.5}, experiment={"allocation": {"kind": "thompson"}, "moves": moves})
    later = [*moves, {"since": BEGIN + 1, "weights": [0.9, 0.1]}]
    since = running({"exploration": 0.5}, experiment={"allocation": {"kind": "thompson"}, "moves": later})
    told = set()
    for number in range(60):
        state = asked(of).state if number % 3 else None  # seen a minute ago, or never
        question = asked(of, f"c-{number}", state=state, personalised=number % 5 > 0, decision_id=f"d-{number}")
        event = decode(encode(logged(question, choose(question))))
        assert isinstance(event, Decision)
        assert compare(event, record_again(event, of, {})) == []
        assert compare(event, record_again(event, since, {})) == []  # weights that moved later change nothing
        told.add((event.variants["hero"], event.chances["hero"]))
    assert told == {("usual", 0.2), ("bold", 0.8), ("usual", 0.5), ("bold", 0.5)}
    fixed = running({"exploration": 0.5})
    assert logged(arm(fixed, "bold"), choose(arm(fixed, "bold"))).chances == {}
    forced = asked(of, flags={"hero": "bold"})
    assert logged(forced, choose(forced)).chances == {}


def test_decisions_for_visitors_log_when_they_were_seen_first_and_are_made_again_to_the_bit() -> None:
    moves = [{"since": BEGIN - 90_000_000, "weights": [0.2, 0.8]}]
    bandit = {"allocation": {"kind": "thompson"}, "moves": moves, "unit": "anonymous"}
    of = running({"exploration": 0.5}, experiment=bandit)
    told = set()
    for number in range(40):
        visited = BEGIN - (60_000_000 if number % 2 else DAY)
        question = asked(of, "c-1", anonymous=f"a-{number}", visited=visited, decision_id=f"d-{number}")
        event = decode(encode(logged(question, choose(question))))
        assert isinstance(event, Decision)
        assert event.visited == visited
        assert compare(event, record_again(event, of, {})) == []
        told.add((number % 2, event.variants["hero"], event.chances["hero"]))
    assert told == {(0, "usual", 0.5), (0, "bold", 0.5), (1, "usual", 0.2), (1, "bold", 0.8)}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"allocation": {"kind": "thompson", "floor": 0.5}},
            "allocation.floor: 2 variants with 0.5 each leave nothing to move: say less than 0.5",
        ),
        (
            {"variants": [{"id": "a", "weight": 1.0}, {"id": "b", "weight": 0.0}]},
            "variants: a variant without weight is never tried, so that nothing moves to it: give it some",
        ),
        (
            {"starts": None, "allocation": {"kind": "thompson", "returning": "3d"}},
            "allocation.returning: say when the experiment begins: `starts`",
        ),
        (
            {"allocation": {"kind": "fixed", "every": "1h"}},
            "allocation.every: it is for thompson, whose weights move: leave it out of fixed",
        ),
        (
            {"moves": [{"since": 5, "weights": [1.0]}]},
            "moves[0].weights: they are the service's to move: leave `moves` out",
        ),
    ],
)
def test_a_wrong_bandit_is_refused_with_what_to_do_instead(changed: dict[str, Any], told: str) -> None:
    assert problems(said(BANDIT | changed)) == [f"experiments[0].{told}"]


def test_a_bandit_that_has_begun_keeps_its_weights_and_its_rules() -> None:
    before, _ = reading.parse("c", said(BANDIT))
    known = Known(before=before, now=BEGIN + DAY)
    weighted = [{**PAIR[0], "weight": 0.8}, {**PAIR[1], "weight": 0.2}]
    assert problems(said(BANDIT | {"variants": weighted}), known) == [
        "experiments[0].variants: the weights of 'hero' move by themselves, and those it began with bind units: leave "
        "them. To set weights by hand, set its `status` to stopped, and begin another experiment with an id of its own"
    ]
    for allocation in ({"kind": "fixed"}, {"kind": "thompson", "floor": 0.1}):
        [problem] = problems(said(BANDIT | {"allocation": allocation}), known)
        assert problem.startswith("experiments[0].allocation: 'hero' has begun")


def drawn(rates: tuple[float, ...], units: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    arms = generator.integers(len(rates), size=units)
    return arms, (generator.random(units) < np.array(rates)[arms]).astype(float)


def test_weights_go_to_the_variant_that_is_likely_the_best_and_leave_the_floor() -> None:
    arms, converted = drawn((0.1, 0.1, 0.2), 3000)
    even = np.full(3000, 1 / 3)
    draws = thompson.believe_rates(arms, 3, even, converted, 1)
    assert thompson.share_out(draws, "increase", 0.05) == pytest.approx((0.05, 0.05, 0.9), abs=0.01)
    lower = thompson.share_out(draws, "decrease", 0.05)
    assert lower[2] == 0.05
    assert sum(lower) == pytest.approx(1.0, abs=1e-12)
    assert min(lower) >= 0.05
    means = thompson.believe_means(arms, 3, even, converted * 30, np.ones(3000), 1)
    assert thompson.share_out(means, "increase", 0.05) == pytest.approx((0.05, 0.05, 0.9), abs=0.01)


def test_rates_are_believed_as_the_beta_posterior_says() -> None:
    arms, converted = drawn((0.1, 0.13), 2000)
    draws = thompson.believe_rates(arms, 2, np.full(2000, 0.5), converted, 1)
    for variant in (0, 1):
        won, shown = converted[arms == variant].sum(), (arms == variant).sum()
        assert draws[:, variant].mean() == pytest.approx((1 + won) / (2 + shown), abs=2e-4)
        spread = np.sqrt(won * (shown - won) / shown**3)
        assert draws[:, variant].std() == pytest.approx(spread, rel=0.03)


def test_a_variant_that_had_its_units_on_good_days_is_not_taken_for_good() -> None:
    generator = np.random.default_rng(3)
    chance_of_bold = np.repeat([0.1, 0.9], 20_000)
    arms = (generator.random(40_000) < chance_of_bold).astype(int)
    converted = (generator.random(40_000) < np.repeat([0.1, 0.3], 20_000)).astype(float)
    chance = np.where(arms == 1, chance_of_bold, 1 - chance_of_bold)
    assert converted[arms == 1].mean() > converted[arms == 0].mean() + 0.1
    draws = thompson.believe_rates(arms, 2, chance, converted, 1)
    assert 0.1 < (draws[:, 1] > draws[:, 0]).mean() < 0.9


@pytest.fixture
def bandit(home: Home) -> Home:
    """A home whose archive says that `bold` is the better one."""
    write(home, experimenting.shop(customers=600, lead=0.2))
    analysis = {"metrics": [{"id": "clicks", "event": "Promotion Clicked"}]}
    allocation = {"kind": "thompson", "every": "2h", "floor": 0.1}
    document = experimenting.catalog(allocation=allocation, analysis=analysis)
    versions.publish(home, "# by hand\n" + yaml.safe_dump(document, sort_keys=False), "anna", "", "")
    return home


def test_a_move_is_a_version_of_the_catalog_under_the_same_text(bandit: Home) -> None:
    text, (_, first) = bandit.catalog.read_text(), versions.read(bandit)
    moved = moving.move(bandit, ["hero-test"], START)
    assert moved == {"hero-test": pytest.approx((0.1, 0.9), abs=0.01)}
    catalog, version = versions.read(bandit)
    assert version != first
    assert bandit.catalog.read_text() == text
    [move] = catalog.experiments[0].moves
    assert (move.since, move.weights) == (START + moving.AHEAD, moved["hero-test"])
    assert versions.history(bandit)[-1].previous == first
    assert versions.open_text(bandit, version, text)[0] == catalog
    assert moving.move(bandit, ["hero-test"], START + 1) == {}  # nothing has changed since
    assert versions.read(bandit)[1] == version


def test_moved_weights_stay_when_the_catalog_is_edited_put_back_or_restored(bandit: Home) -> None:
    first_text, (_, first) = bandit.catalog.read_text(), versions.read(bandit)
    moving.move(bandit, ["hero-test"], START)
    moves = versions.read(bandit)[0].experiments[0].moves
    edited = first_text.replace("c-1", "c-2")
    versions.publish(bandit, edited, "anna", "", first)  # she knew the version before the weights moved
    assert versions.read(bandit)[0].experiments[0].moves == moves
    with pytest.raises(versions.ConflictError):
        versions.publish(bandit, first_text, "otto", "", first)
    bandit.catalog.write_text(first_text)  # by hand
    assert versions.read(bandit)[0].experiments[0].moves == moves
    versions.restore(bandit, first, "anna", "")
    catalog, version = versions.read(bandit)
    assert catalog.experiments[0].moves == moves
    assert compile_catalog(catalog, version).experiments.entries[0].epochs is not None
    assert reading.version(catalog) == version


def test_weights_are_due_as_often_as_the_catalog_says_while_the_experiment_runs(bandit: Home) -> None:
    catalog, _ = versions.read(bandit)
    [experiment] = catalog.experiments
    hour = 3_600_000_000

    def due(now: int, **changed: Any) -> list[str]:
        return role.due(bandit, catalog, [experiment.model_copy(update=changed)], now)

    assert due(BEGIN) == ["hero-test"]
    times.note(bandit, {"hero-test": BEGIN})
    assert due(BEGIN + hour) == []
    assert due(BEGIN + 2 * hour) == ["hero-test"]
    assert due(BEGIN + 2 * hour, ends=date(2027, 1, 14)) == []
    moved = {"moves": (Move(since=BEGIN - 2000 * hour, weights=(0.5, 0.5)),)}
    assert due(BEGIN + 2 * hour, **moved) == []  # of 2,000 hours, a 500th is four hours
    assert due(BEGIN + 5 * hour, **moved) == ["hero-test"]
