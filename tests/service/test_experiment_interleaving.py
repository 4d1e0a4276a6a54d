"""Two rankings in one slate: who brings in what, what still holds of the slate, and what the log says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from features.events.schema import Decision, decode, encode
from models.bundle import Bundle, load, save
from models.policy import draw
from service.decisions.choose import Chosen, choose
from service.decisions.deviations import compare
from service.decisions.explain import explain_items
from service.decisions.replaying import models_of, record_again
from service.decisions.schema import AskedPlacement
from service.experiments.inference.interleaving import draft
from tests.service import shop
from tests.service.test_experiment_catalog import problems, said
from tests.service.test_experiment_decisions import asked, logged, running

if TYPE_CHECKING:
    from pathlib import Path

    from service.decisions import frame

GRID: dict[str, Any] = {"id": "grid", "limit": 6, "default": "o-0", "exploration": 0.0}
HEAVY = {"weights": {f"o-{number}": 20.0 - number for number in range(0, 12, 2)}}
MIXED: dict[str, Any] = {"placements": ["grid"], "allocation": {"kind": "interleaved"}}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder: Path = tmp_path_factory.mktemp("bundles")
    for number in (1, 2):
        save(folder / str(number), shop.describe(str(number)), shop.grow(number))
    return [load(folder / str(number)) for number in (1, 2)]


def mixed(bold: dict[str, Any], grid: dict[str, Any] | None = None, **changed: Any) -> frame.Frame:
    placements = [GRID | (grid or {}), {"id": "calm", "limit": 1, "default": "o-0"}]
    return running(bold, experiment=MIXED | changed.pop("experiment", {}), placements=placements, **changed)


def items(of: frame.Frame, chosen: Chosen) -> list[str]:
    [slate] = chosen.slates
    return [of.compiled.candidates[int(slate.pool.places[picked.at])].id for picked in slate.picks]


@pytest.mark.parametrize("bold", [HEAVY, {"strategy": "fixed"}, {"candidates": ["o-9", "o-7", "o-8", "o-1", "o-2"]}])
def test_a_slate_is_the_team_draft_of_both_variants_own_rankings(bold: dict[str, Any]) -> None:
    of, drawn = mixed(bold), set()
    for number in range(30):
        question = asked(of, placements=[AskedPlacement(id="grid")], decision_id=f"d-{number}")
        alone = [
            asked(of, placements=[AskedPlacement(id="grid", limit=12)], flags={"hero": name})
            for name in ("usual", "bold")
        ]
        rankings = [items(of, choose(one)) for one in alone]
        coins = np.array([draw(f"d-{number}", "grid", at, "team") < 0.5 for at in range(6)])
        slate, teams = draft(rankings[0], rankings[1], 6, coins)
        chosen = choose(question)
        match = chosen.slates[0].match
        assert match is not None
        assert items(of, chosen) == slate
        assert match.teams == [("usual", "bold")[team] for team in teams]
        assert chosen.variants == {"hero": "interleaved"}
        drawn.add(tuple(slate))
    assert len(drawn) > 1


def test_both_models_score_for_their_own_team_and_the_log_tells_all_of_it(bundles: list[Bundle]) -> None:
    of = mixed({"model": "challenger", "candidates": ["o-9", "o-3", "o-4", "o-8"]}, grid={"pinned": ["o-11"]})
    models = {"champion": bundles[0], "challenger": bundles[1]}
    for number in range(12):
        given: dict[str, Any] = {"decision_id": f"d-{number}", "models": models}
        question = asked(of, placements=[AskedPlacement(id="grid")], **given)
        chosen = choose(question)
        event = decode(encode(logged(question, chosen)))
        assert isinstance(event, Decision)
        [slot] = event.placements
        assert (slot.interleaved, slot.exploration) == ("hero", 0.0)
        assert slot.models == {"usual": bundles[0].label, "bold": bundles[1].label}
        assert [item.team for item in slot.items].count("usual") >= 2
        assert slot.items[0].team is None  # pinned
        assert {item.team for item in slot.items[1:]} == {"usual", "bold"}
        assert {item.selection_probability for item in slot.items} == {None}
        for team, alias in (("usual", "champion"), ("bold", "challenger")):
            forced = asked(of, placements=[AskedPlacement(id="grid", limit=12)], flags={"hero": team}, **given)
            [alone] = logged(forced, choose(forced)).placements
            known = {item.id: (item.propensity, item.priority) for item in alone.items}
            mine = [item for item in slot.items if item.team == team]
            together, apart = scores(of, chosen), scores(of, choose(forced))
            assert [together[item.id] for item in mine] == pytest.approx([apart[item.id] for item in mine])
            assert [(item.propensity, item.priority) for item in mine] == [known[item.id] for item in mine], alias
        load_label = {bundle.label: bundle for bundle in bundles}.__getitem__
        assert models_of(event, of, load_label) == models
        assert compare(event, record_again(event, of, models_of(event, of, load_label))) == []


def scores(of: frame.Frame, chosen: Chosen) -> dict[str, float | None]:
    """Of each item, as an explanation adds it up."""
    [slate] = chosen.slates
    return {one.id: one.score for one in explain_items(slate, [it.at for it in slate.picks], items(of, chosen))}


def test_diversity_and_the_rest_of_the_page_hold_for_both_together() -> None:
    of = mixed(HEAVY, grid={"at_most": {"category": 1}}, experiment={"placements": None})
    for number in range(20):
        chosen = choose(asked(of, "c-1", "calm", "grid", decision_id=f"d-{number}"))
        above, below = ([of.compiled.candidates[int(at)] for at in places(slate)] for slate in chosen.slates)
        assert len({one.category for one in below}) == len(below) == 3
        assert not {one.id for one in above} & {one.id for one in below}


def places(slate: Any) -> list[int]:
    return [int(slate.pool.places[picked.at]) for picked in slate.picks]


def test_who_is_forced_held_or_sent_a_message_sees_one_ranking(bundles: list[Bundle]) -> None:
    of = mixed(HEAVY, holdout={"share": 0.5})
    grid = [AskedPlacement(id="grid")]
    matched = [choose(asked(of, f"c-{number}", placements=grid)) for number in range(40)]
    told = {(one.variants["holdout"], one.slates[0].match is None) for one in matched}
    assert told == {("held", True), ("open", False)}
    forced = choose(asked(of, placements=grid, flags={"hero": "bold", "holdout": "open"}))
    assert (forced.slates[0].match, forced.variants["hero"]) == (None, "bold")
    sent = choose(asked(mixed(HEAVY), placements=grid, sent=True))
    assert (sent.slates[0].match, sent.variants) == (None, {})
    apart = choose(asked(mixed({"model": "challenger"}), placements=grid, models={"champion": bundles[0]}))
    assert apart.slates[0].match is None  # the other model is not there: two rungs do not compare
    assert apart.slates[0].bundle is bundles[0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"variants": [{"id": name} for name in "abc"]},
            "variants: a slate holds the picks of two rankings, not of 3: keep two, or compare more with fixed weights",
        ),
        (
            {"variants": [{"id": "a", "value": 1}, {"id": "b", "value": 2}]},
            "variants[0].value: a flag's value cannot be in one slate with another: use fixed weights",
        ),
        (
            {"variants": [{"id": "a"}, {"id": "b", "exploration": 0.5}]},
            "variants[1].exploration: interleaved rankings do not explore: compare it with fixed weights",
        ),
        (
            {"variants": [{"id": "a"}, {"id": "b", "content": {"o-1": {"cta": "Now"}}}]},
            "variants[1].content: content ranks nothing: compare it with fixed weights",
        ),
        (
            {"variants": [{"id": "interleaved"}, {"id": "b"}]},
            "variants[0].id: 'interleaved' is what units of both are said to have",
        ),
        (
            {"placements": ["grid", "calm"]},
            "placements[1]: 'calm' shows one item, in which two rankings cannot stand: use fixed weights",
        ),
        (
            {"allocation": {"kind": "interleaved", "floor": 0.1}},
            "allocation.floor: it is for thompson, whose weights move: leave it out of interleaved",
        ),
    ],
)
def test_what_cannot_be_interleaved_is_refused_with_what_to_do_instead(changed: dict[str, Any], told: str) -> None:
    good = {"id": "hero", "status": "running", "variants": [{"id": "a"}, {"id": "b", **HEAVY}]} | MIXED
    found = problems(said(good | changed))
    assert found[0] == f"experiments[0].{told}"


def test_two_experiments_do_not_share_a_slate() -> None:
    one = {"id": "hero", "status": "running", "variants": [{"id": "a"}, {"id": "b"}]} | MIXED
    assert problems(said(one, one | {"id": "other"})) == [
        "experiments[1].placements: 'hero' interleaves 'grid' already: give both one `layer`, or stop one"
    ]
