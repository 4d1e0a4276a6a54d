"""What was served beside what training joins: equal as it stands, and named where somebody has meddled."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import lightgbm
import msgspec
import numpy as np
import pytest

from features import history
from features.aggregates.columns import slot_of
from features.aggregates.rows import LAYOUTS
from features.archive import ArchiveError
from features.events.schema import Decision
from features.store import open_store
from models import bundle
from models.bundle import Calibration, Description
from models.signature import Feature, Signature
from tests.training.archives import visits, write
from training import logged
from training.dataset import Source
from training.preparation import OFFLINE
from training.skew.auditing import Audit, audit
from training.skew.commands import SKEWED, skew

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.home import Home
    from tests.training.archives import LiveShop

SABOTAGED = "customer__any__recency"
FEATURES = ("candidate__product_viewed__share_7d", SABOTAGED)


def look(home: Home, sample: int = 1000) -> Audit:
    if not history.is_current(home):
        history.rebuild(home)
    return audit(home, open_store(home, OFFLINE), sample)


def rewrite(home: Home, shop: LiveShop, change: Callable[[Decision], Decision]) -> None:
    """The archive, with every decision as `change` has it."""
    shutil.rmtree(home.events)
    events = [change(event) if isinstance(event, Decision) else event for event in shop.events]
    write(home, events, partition=0)


def meddle(decision: Decision, every: int = 3) -> Decision:
    """The row says another last time, in one decision of `every`."""
    if decision.state is None or int(decision.decision_id.partition("-")[2]) % every:  # type: ignore[union-attr]  # named
        return decision
    numbers = np.frombuffer(decision.state.numbers, np.float64).copy()
    numbers[slot_of(LAYOUTS["customer"], SABOTAGED)] -= 3600.0
    return msgspec.structs.replace(decision, state=msgspec.structs.replace(decision.state, numbers=numbers.tobytes()))


def test_what_was_served_is_what_training_joins(home: Home) -> None:
    visits(home, count=150)
    found = look(home)
    assert (found.decisions, found.other_layouts) == (150, 0)
    assert len(found.lines) > 30
    assert all(line.compared == 600 for line in found.lines)
    assert found.skewed(0.0) == []


def test_training_may_take_the_logged_rows_themselves(home: Home) -> None:
    rewrite(home, visits(home, count=60), meddle)
    history.rebuild(home)
    source = Source(home, open_store(home, OFFLINE))
    values = [
        np.concatenate([chunk.features[SABOTAGED] for chunk in source.read(logged.label(home, with_states=which))])
        for which in (True, False)
    ]
    apart = np.abs(values[0] - values[1])
    assert apart.max() == pytest.approx(3600.0)
    assert 0.1 < (apart > 1.0).mean() < 0.4


def test_one_sabotaged_feature_is_named_alone_with_how_much_of_it_differs(home: Home) -> None:
    rewrite(home, visits(home, count=90), meddle)
    found = look(home)
    assert [line.name for line in found.skewed()] == [SABOTAGED]
    worst = found.lines[0]
    assert 0.2 < worst.share < 0.34  # a third, without strangers, of whom there was no row
    assert worst.largest == pytest.approx(3600.0)


def test_propensities_are_compared_with_those_of_the_model_on_joined_features(home: Home) -> None:
    shop = visits(home, count=60)
    signature = Signature(tuple(Feature(name) for name in FEATURES))
    rows = np.random.default_rng(1).random((400, 2))
    table = lightgbm.Dataset(rows, (rows[:, 0] > 0.5).astype(float), feature_name=list(FEATURES))
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, table, 3)
    described = Description(
        name="offers", version="1", reward="click", labels="logged", signature=signature,
        calibration=Calibration((-5.0, 5.0), (0.0, 1.0)),
    )  # fmt: skip
    bundle.save(home.bundles / "offers" / "1", described, booster.model_to_string())
    model = bundle.load(home.bundles / "offers" / "1")
    served = {(it.decision, it.placement): model.propensities(it.features) for it in shop.remembered}

    def score(decision: Decision, off: float) -> Decision:
        slots = []
        for slot in decision.placements:
            said = served[decision.decision_id or "", slot.id]
            items = [
                msgspec.structs.replace(it, propensity=float(p) + off) for it, p in zip(slot.items, said, strict=True)
            ]
            slots.append(msgspec.structs.replace(slot, items=items, model="offers/1"))
        return msgspec.structs.replace(decision, placements=slots)

    rewrite(home, shop, lambda decision: score(decision, 0.0))
    found = look(home)
    line = next(line for line in found.lines if line.name == "propensity of offers/1")
    assert (line.compared, line.mismatching) == (240, 0)
    rewrite(home, shop, lambda decision: score(decision, 0.01))
    history.rebuild(home)
    assert [line.name for line in look(home).skewed()] == ["propensity of offers/1"]


def test_decisions_of_other_declarations_are_left_out_and_counted(home: Home) -> None:
    def age(decision: Decision) -> Decision:
        old = msgspec.structs.replace(decision.state, layout="another") if decision.state else None
        return msgspec.structs.replace(decision, state=old)

    rewrite(home, visits(home, count=30), age)
    found = look(home)
    assert found.other_layouts == sum(it.state is not None for it in _decisions(home))
    assert found.decisions == 30 - found.other_layouts


def _decisions(home: Home) -> list[Decision]:
    from training.logged import read_decisions

    return list(read_decisions(home))


def test_the_verb_prints_the_table_and_fails_where_a_feature_is_skewed(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = visits(home, count=40)
    skew(home=home.root)
    assert "agree everywhere" in capsys.readouterr().out
    rewrite(home, shop, meddle)
    with pytest.raises(SystemExit) as ended:
        skew(home=home.root, decisions=30)
    assert ended.value.code == SKEWED
    told = capsys.readouterr().out
    assert "30 decisions" in told
    assert f"Skewed: {SABOTAGED}" in told


def test_a_cut_file_of_the_archive_is_named_and_one_of_the_history_made_anew(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    visits(home, count=60)
    skew(home=home.root)
    path = max((home.history / "customer").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    skew(home=home.root)
    assert capsys.readouterr().out.count("agree everywhere") == 2
    path = min(home.events.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArchiveError, match=rf"{path.name} of the archive cannot be read .*put it back"):
        skew(home=home.root)


def test_without_decisions_there_is_nothing_to_compare(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.root.mkdir(exist_ok=True)
    visits(home, count=0)
    skew(home=home.root)
    assert "nothing to compare" in capsys.readouterr().out
