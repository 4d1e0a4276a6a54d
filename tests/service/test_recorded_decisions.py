"""A recorded sample of decisions is made again on every run: ids, order, reasons and probabilities never move."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.bundle import load
from service.decisions.deviations import compare
from service.decisions.replaying import is_replayable, models_of, record_again
from tests.service import recording

GOLDEN = Path(__file__).parents[1] / "golden" / "decisions"


def test_recorded_decisions_are_made_again() -> None:
    """To change them on purpose (as new features do), delete the golden folder and run this test twice."""
    if not GOLDEN.exists():
        GOLDEN.mkdir(parents=True)
        recording.write(GOLDEN)
        pytest.fail(f"{GOLDEN.name} was missing and is written")
    bundle = load(GOLDEN / "bundle")
    framed, unread, brought = recording.read_frames(GOLDEN)
    for logged in recording.read_decisions(GOLDEN):
        assert is_replayable(logged), "the customers' rows have another layout now: see above"
        frame = unread if logged.rung == "static" else brought if logged.supplied else framed
        again = record_again(logged, frame, models_of(logged, frame, {bundle.label: bundle}.__getitem__))
        assert compare(logged, again, 1e-9) == [], logged.decision_id


def test_the_recorded_sample_has_decisions_of_every_kind() -> None:
    decisions = recording.read_decisions(GOLDEN)
    slots = [slot for decision in decisions for slot in decision.placements]
    reasons = {reason for slot in slots for reason in slot.rejected}
    assert {decision.rung for decision in decisions} == {"model", "prior", "static"}
    assert reasons >= {
        *("rule", "rule_error", "bought", "cap:daily", "budget:hats", "stock", "personal_window_over", "contended"),
        *("cap_unknown", "customer_unknown", "shown_on_page", "unknown_candidate"),
    }
    assert any(item.selection_probability != 1.0 for slot in slots for item in slot.items)
    assert any(slot.would for slot in slots)
    assert any(decision.events for decision in decisions)
    assert any(decision.late for decision in decisions)
    assert any(item.id == "brought" for slot in slots for item in slot.items)
    assert any(not decision.readable for decision in decisions)


def test_the_sample_is_recorded_the_same_again(tmp_path: Path) -> None:
    recording.write(tmp_path)
    again = recording.read_decisions(tmp_path)
    golden = recording.read_decisions(GOLDEN)
    assert [one.decision_id for one in again] == [one.decision_id for one in golden]
