"""What a ramp does to the catalog's text, and what its guardrails say of a step."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from service.ramps import document, guarding
from service.ramps.counting import CLICKS, DECISIONS, ERRORS, FIELDS, SEEN, TOOK, Counts
from service.ramps.state import Plan, RampError

ENTRY = {"id": "ramp-x", "status": "running", "variants": [{"id": "a"}, {"id": "b"}]}
TEXTS = {
    "a list": "# mine\np: [p]\nexperiments:\n  # first\n  - id: one  # yes\n    x: 1\n  - id: two\nflags: []\n",
    "a list at the margin": "experiments:\n- id: one\n- id: two\n",
    "a short list": "a: 1\nexperiments: [{id: one}, {id: two}]  # both\n",
    "an empty list": "experiments: []\na: 1\n",
    "no list": "a: 1\n# the end\n",
    "no line's end": "a: 1",
    "JSON": '{"a": 1, "experiments": [{"id": "one"}]}',
    "beyond ASCII": "# Übergrößen 🎁\na: ü\nexperiments:\n  - id: ä\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_experiment_is_put_into_a_text_changed_and_taken_out_and_the_rest_stays_as_it_was_written(text: str) -> None:
    before = yaml.safe_load(text)
    put = document.put(text, ENTRY)
    assert yaml.safe_load(put) == before | {"experiments": [ENTRY, *before.get("experiments", [])]}
    changed = document.put(put, ENTRY | {"status": "stopped"})
    assert yaml.safe_load(changed)["experiments"][0]["status"] == "stopped"
    assert document.take_out(changed, "ramp-x") in (text, text + "\n")
    assert document.take_out(text, "ramp-x") == text


def test_json_without_experiments_gets_an_empty_list_and_nothing_else() -> None:
    text = '{"a": 1}'
    assert yaml.safe_load(document.take_out(document.put(text, ENTRY), "ramp-x")) == {"a": 1, "experiments": []}


@pytest.mark.parametrize("text", ["experiments:\na: 1\n", "experiments: {a: 1}\n", "  a: 1\n", "- a\n"])
def test_a_text_in_which_there_is_no_room_is_refused(text: str) -> None:
    with pytest.raises(RampError):
        document.put(text, ENTRY)


def test_an_experiment_that_somebody_wrote_again_is_left_to_them() -> None:
    with pytest.raises(RampError, match="written the experiment 'ramp-x' otherwise"):
        document.take_out("experiments:\n  - id: ramp-x\n    status: stopped\n", "ramp-x")


def draw(generator: np.random.Generator, units: int, share: float, rate: float, other: float) -> Counts:
    """Units with habits: who comes often clicks more, in both arms; `other` is the challenger's rate."""
    arm = (generator.random(units) < share).astype(np.int64)
    visits = 1 + generator.poisson(1.5, units)
    habit = np.minimum(np.where(arm == 1, other, rate) * (0.5 + visits / 5.0), 1.0)
    totals = np.zeros((units, FIELDS))
    totals[:, DECISIONS] = totals[:, SEEN] = visits
    totals[:, CLICKS] = generator.binomial(visits, habit)
    totals[:, ERRORS] = generator.binomial(visits, 0.001)
    totals[:, TOOK] = generator.gamma(visits, 3000.0)
    return Counts(arm=arm, totals=totals, chance=share)


def first(counts: Counts, units: int) -> Counts:
    return Counts(arm=counts.arm[:units], totals=counts.totals[:units], chance=counts.chance)


def test_a_challenger_that_is_as_good_is_hardly_ever_taken_back_however_often_one_looks() -> None:
    generator, plan, alarms, ramps = np.random.default_rng(3), Plan(units=300), 0, 60
    for _ in range(ramps):
        steps = [draw(generator, 3000, share, 0.1, 0.1) for share in (0.1, 0.2, 0.4)]
        looks = (guarding.look(first(it, at), plan, None) for it in steps for at in (600, 1200, 2000, 3000))
        alarms += any(guard.state == "worse" for found in looks for guard in found.guards)
    assert alarms <= 0.05 * ramps


SHARES = (0.05, 0.25, 0.5)


def come(generator: np.random.Generator, units: int = 20_000) -> tuple[Any, Any, Any]:
    """(place among the buckets, visits in each step, clicks in each step) of units of whom some come often, and those
    click more; what they get changes nothing.
    """
    often = generator.gamma(0.5, 2.0, units)
    visits = generator.poisson(often[:, None], (units, len(SHARES)))
    clicks = generator.binomial(visits, np.minimum(0.02 + 0.1 * often, 0.9)[:, None])
    return generator.random(units), visits, clicks


def by_steps(place: Any, visits: Any, clicks: Any) -> float:
    """Challenger minus champion in the last step, as a ramp compares them."""
    moved, stays = (place >= SHARES[-2]) & (place < SHARES[-1]), place >= SHARES[-1]
    here = (moved | stays) & (visits[:, -1] > 0)
    totals = np.zeros((int(here.sum()), FIELDS))
    totals[:, DECISIONS] = totals[:, SEEN] = visits[here, -1]
    totals[:, CLICKS] = clicks[here, -1]
    counts = Counts(arm=moved[here].astype(np.int64), totals=totals, chance=0.5)
    value = guarding._estimate(counts, guarding.CLICK_RATE).value
    return float(value[1] - value[0])


def over_all_steps(place: Any, visits: Any, clicks: Any) -> float:
    """The same over all steps: units by their first variant, those who met both left out, weighed by their chances."""
    arms = place[:, None] < np.array(SHARES)
    came = visits > 0
    one = ~((came & arms).any(axis=1) & (came & ~arms).any(axis=1)) & came.any(axis=1)
    first_step = came.argmax(axis=1)
    arm = arms[np.arange(len(place)), first_step]
    share = np.array(SHARES)[first_step]
    weight = 1.0 / np.where(arm, share, 1.0 - share)
    rates = [
        (clicks[one & (arm == side)].sum(axis=1) @ weight[one & (arm == side)])
        / (visits[one & (arm == side)].sum(axis=1) @ weight[one & (arm == side)])
        for side in (True, False)
    ]
    return float(rates[0] - rates[1])


def test_moved_weights_and_who_comes_back_bias_nothing_within_a_step_though_they_do_over_all_steps() -> None:
    generator = np.random.default_rng(11)
    seasons = [come(generator) for _ in range(60)]
    errors = []
    for compare in (by_steps, over_all_steps):
        found = np.array([compare(*season) for season in seasons])
        errors.append(abs(found.mean()) / (found.std(ddof=1) / np.sqrt(len(found))))
    assert errors[0] < 3.0
    assert errors[1] > 5.0


def test_each_kind_of_harm_is_seen_and_said() -> None:
    plan, generator = Plan(units=300), np.random.default_rng(4)
    fine = draw(generator, 4000, 0.3, 0.1, 0.1)
    assert {guard.state for guard in guarding.look(fine, plan, None).guards} == {"holds"}
    harmed = draw(generator, 4000, 0.3, 0.1, 0.05)
    assert guarding.decide(guarding.look(harmed, plan, None), plan, 0, 0.0).why.startswith("click rate ")
    failing, slow = fine.totals.copy(), fine.totals.copy()
    failing[fine.arm == 1, ERRORS] = fine.totals[fine.arm == 1, DECISIONS]
    slow[fine.arm == 1, TOOK] *= 2.0
    for totals, name in ((failing, "error rate 100.00 %"), (slow, "latency ")):
        found = guarding.look(Counts(arm=fine.arm, totals=totals, chance=0.3), plan, None)
        decided = guarding.decide(found, plan, 0, 0.0)
        assert decided.act == "take back"
        assert decided.why.startswith(name)


def test_a_step_asks_for_units_time_and_before_the_last_one_for_certainty() -> None:
    plan = Plan(units=1000, seconds=60.0, steps=(0.3, 1.0), tolerated=0.05)
    counts = draw(np.random.default_rng(5), 6000, 0.3, 0.1, 0.1)
    found = guarding.look(counts, plan, None)
    assert guarding.decide(guarding.look(first(counts, 2000), plan, None), plan, 0, 90.0).act == "wait"
    assert guarding.decide(found, plan, 0, 30.0).why == "0 of 1 minutes"
    assert "no certainty that fewer than 5%" in guarding.decide(found, plan, 0, 90.0).why
    lenient = msgspec.structs.replace(plan, tolerated=0.9)
    assert guarding.decide(found, lenient, 0, 90.0).act == "advance"
    late = guarding.decide(found, plan, 0, plan.patience + 1.0)
    assert (late.act, "no certainty" in late.why) == ("take back", True)


def test_units_that_do_not_come_as_their_buckets_say_end_a_ramp() -> None:
    plan = Plan(units=300, tolerated=0.9, seconds=0.0)
    counts = draw(np.random.default_rng(6), 4000, 0.3, 0.1, 0.1)
    found = guarding.look(Counts(arm=counts.arm, totals=counts.totals, chance=0.4), plan, None)
    assert guarding.decide(found, plan, 0, 1.0).why.startswith("units did not come to both sides as meant")


def test_where_nobody_has_the_champion_any_more_its_last_error_rate_stands_beside_the_challengers() -> None:
    plan = Plan(units=300)
    counts = draw(np.random.default_rng(8), 4000, 0.5, 0.1, 0.1)
    base = guarding.look(counts, plan, None).base
    busy, failing = counts.totals.copy(), counts.totals.copy()
    busy[:, TOOK] *= 3.0  # at another hour
    failing[:, ERRORS] = failing[:, DECISIONS] * 0.2
    for totals, state_of_it, act in ((busy, "holds", "advance"), (failing, "worse", "take back")):
        found = guarding.look(Counts(arm=np.ones(4000, np.int64), totals=totals, chance=1.0), plan, base)
        assert [(guard.name, guard.state) for guard in found.guards] == [("error rate", state_of_it)]
        assert guarding.decide(found, plan, 4, plan.seconds).act == act
