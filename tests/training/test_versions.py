"""Versions are listed, shown and compared from their bundles; aliases move forth and back, and every move is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightgbm
import mlflow
import msgspec
import numpy as np
import pandas as pd
import pytest

from features.home import Home
from features.settings import Settings
from models import bundle, moves, ramped, registry
from models.bundle import BundleError, Calibration, Description
from models.ramped import Guarded, Ramped, Step
from models.signature import Feature, Signature
from training.versions import commands, comparing, listing, moving
from training.versions.listing import VersionError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["customer__any__recency", "candidate__price"]
FAILED = {"skew": {"holds": False, "figure": "candidate__price 3.00%", "bound": "at most 0.1%"}}
HELD = {"skew": {"holds": True, "figure": "none", "bound": "at most 0.1%"}}


def register(settings: Settings, name: str, auc: float, gates: dict[str, object]) -> Description:
    rows = np.random.default_rng(int(auc * 100)).random((400, 2))
    table = lightgbm.Dataset(rows, (rows[:, 0] > 0.5).astype(float), feature_name=NAMES)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, table, 3)
    client = registry.connect(settings)
    experiment = registry.open_experiment(client, settings, "tests")
    with mlflow.start_run(experiment_id=experiment) as run:
        description = Description(
            name=name, version="", reward="click", labels="logged", run_id=run.info.run_id, trained="2026-11-23T08:00",
            signature=Signature(tuple(Feature(each) for each in NAMES)), gates=gates, metrics={"auc": auc},
            calibration=Calibration((-1.0, 1.0), (0.1, 0.9)), intervals={"auc": (auc - 0.1, auc + 0.1)},
        )  # fmt: skip
        uri = registry.log_model(booster, description, pd.DataFrame(np.ones((2, 2)), columns=NAMES))
        return registry.register(client, settings.home.bundles, description, booster, uri, {})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three versions of `offers`, of which the last did not pass, and none serves; tests use the aliases in turn."""
    settings = Settings(home=Home(tmp_path_factory.mktemp("versions")))
    for auc, gates in ((0.6, HELD), (0.7, HELD), (0.8, FAILED)):
        register(settings, "offers", auc, dict(gates))
    return settings


@pytest.fixture
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)[:40].replace("[", "_").replace("]", "")


def named(settings: Settings, alias: str) -> tuple[str | None, str | None]:
    """(by the file that services read, by MLflow)"""
    found = registry.connect(settings).get_registered_model("offers").aliases.get(alias)
    return bundle.read_aliases(settings.home.bundles, "offers").get(alias), None if found is None else str(found)


def test_an_alias_goes_forth_and_back_and_forgets_nothing(settings: Settings, alias: str) -> None:
    for version in ("1", "2"):
        moved = moving.promote(settings, "offers", version, alias)
        assert (moved.description.version, named(settings, alias)) == (version, (version, version))
    moving.promote(settings, "offers", "3", alias, force=True, reason="a try")
    for now, before in (("3", "2"), ("2", "1")):
        assert moving.roll_back(settings, "offers", alias)[0] == now
        assert named(settings, alias) == (before, before)
    with pytest.raises(VersionError, match=f"{alias} of 'offers' has named no version before 1"):
        moving.roll_back(settings, "offers", alias)
    told = listing.list_moves(settings.home.bundles, "offers", alias)
    assert [(it.before, it.version, it.action) for it in told] == [
        ("2", "1", "rolled back"),
        ("3", "2", "rolled back"),
        ("2", "3", "promoted"),
        ("1", "2", "promoted"),
        ("", "1", "promoted"),
    ]
    assert told[2].reason == "forced past skew: a try"


def test_a_version_whose_gates_did_not_hold_is_promoted_by_force_only(settings: Settings, alias: str) -> None:
    with pytest.raises(VersionError, match=r"version 3 of offers did not pass: skew \(candidate__price 3.00%\)"):
        moving.promote(settings, "offers", "3", alias)
    assert named(settings, alias) == (None, None)


def test_what_is_not_there_or_there_already_is_refused(settings: Settings, alias: str) -> None:
    with pytest.raises(VersionError, match="no version '9' of 'offers'; there are: 3, 2, 1"):
        moving.promote(settings, "offers", "9", alias)
    with pytest.raises(VersionError, match="names no version"):
        moving.roll_back(settings, "offers", alias)
    moving.promote(settings, "offers", "1", alias)
    with pytest.raises(VersionError, match=f"{alias} is version 1 of offers already"):
        moving.promote(settings, "offers", alias, alias)


def test_a_version_whose_files_are_broken_is_not_gone_back_to(settings: Settings, alias: str) -> None:
    for version in ("1", "2"):
        moving.promote(settings, "offers", version, alias)
    model = settings.home.bundles / "offers" / "1" / "model.txt"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])
    try:
        with pytest.raises(BundleError):
            moving.roll_back(settings, "offers", alias)
    finally:
        model.write_bytes(whole)
    assert named(settings, alias) == ("2", "2")


def test_a_move_that_cannot_be_written_is_none(settings: Settings, alias: str) -> None:
    moving.promote(settings, "offers", "1", alias)
    aliases = settings.home.bundles / "offers" / "aliases.new"
    aliases.mkdir()  # where the new file of aliases has to go
    before = (settings.home.bundles / "offers" / "moves.jsonl").read_bytes()
    try:
        with pytest.raises(IsADirectoryError):
            moving.promote(settings, "offers", "2", alias)
    finally:
        aliases.rmdir()
    assert named(settings, alias) == ("1", "1")
    assert (settings.home.bundles / "offers" / "moves.jsonl").read_bytes() == before


def test_a_withdrawn_alias_names_nothing_and_the_version_has_what_its_ramp_came_to(
    settings: Settings, alias: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in ("1", "2"):
        moving.promote(settings, "offers", version, alias)
    guard = Guarded(name="click rate", champion=0.05, challenger=0.02, low=-0.8, high=-0.3, state="worse")
    step = Step(share=0.05, since="", until="2026-11-23T09:00:00+00:00", units=1200, beside=9000, guards=[guard])
    verdict = Ramped(
        experiment="ramp-offers-2-1", outcome="taken back", reason="at 5%: click rate", beside="1", ended="",
        steps=[step],
    )  # fmt: skip
    ramped.record_ramp(settings.home.bundles, "offers", "2", verdict)
    commands.withdraw(alias, reason="it did harm", home=settings.home.root)
    assert named(settings, alias) == (None, None)
    tag = registry.connect(settings).get_model_version("offers", "2").tags[moving.RAMP_TAG]
    assert msgspec.json.decode(tag, type=Ramped) == verdict
    (last,) = listing.list_moves(settings.home.bundles, "offers", alias)[:1]
    assert (last.action, last.before, last.version, last.reason) == ("withdrawn", "2", "", "it did harm")
    with pytest.raises(VersionError, match="names no version"):
        moving.withdraw(settings, "offers", alias)
    moving.promote(settings, "offers", "1", alias)
    with pytest.raises(VersionError, match="has named no version before 1"):
        moving.roll_back(settings, "offers", alias)  # nobody wants back what was taken away
    capsys.readouterr()
    commands.show("2", home=settings.home.root)
    told = capsys.readouterr().out
    assert "taken back" in told
    assert "worse" in told


def test_a_champion_is_not_withdrawn_and_a_withdrawal_that_cannot_be_written_is_none(
    settings: Settings, alias: str
) -> None:
    moving.promote(settings, "offers", "1", alias)
    before = (settings.home.bundles / "offers" / "moves.jsonl").read_bytes()
    aliases = settings.home.bundles / "offers" / "aliases.new"
    aliases.mkdir()
    try:
        with pytest.raises(IsADirectoryError):
            moving.withdraw(settings, "offers", alias)
    finally:
        aliases.rmdir()
    assert named(settings, alias) == ("1", "1")
    assert (settings.home.bundles / "offers" / "moves.jsonl").read_bytes() == before
    bundle.write_alias(settings.home.bundles, "withdrawing", "champion", "1")
    with pytest.raises(VersionError, match="kairos models rollback"):
        moving.withdraw(settings, "withdrawing", "champion")


def test_ramps_of_a_version_are_kept_and_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "offers" / "1").mkdir(parents=True)
    verdict = Ramped(experiment="a", outcome="taken back", reason="x", beside="0", ended="", steps=[])
    for each in (
        verdict,
        msgspec.structs.replace(verdict, experiment="b"),
        msgspec.structs.replace(verdict, reason="y"),
    ):
        ramped.record_ramp(tmp_path, "offers", "1", each)
    assert [(it.experiment, it.reason) for it in ramped.read_ramps(tmp_path, "offers", "1")] == [("b", "x"), ("a", "y")]
    (tmp_path / "offers" / "1" / "ramps.json").write_text("{")
    with pytest.raises(BundleError, match=r"ramps\.json"):
        ramped.read_ramps(tmp_path, "offers", "1")


def test_rollback_without_a_history_knows_what_the_first_move_replaced(tmp_path: Path) -> None:
    move = moves.Move(time="", alias="champion", version="8", before="7")
    moves.append(tmp_path, "offers", move)
    assert moves.find_previous(moves.read_moves(tmp_path, "offers"), "champion") == "7"
    (tmp_path / "offers" / "moves.jsonl").write_text("{")
    with pytest.raises(BundleError, match=r"moves\.jsonl"):
        moves.read_moves(tmp_path, "offers")


def test_two_versions_stand_side_by_side_with_a_figure(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles = settings.home.bundles
    pair = comparing.compare(bundles, *(listing.find(bundles, "offers", each) for each in ("1", "2")))
    assert pair.is_paired
    assert [side.metrics["auc"].value for side in (pair.left, pair.right)] == [0.6, 0.7]
    assert sum(pair.left.importances.values()) == pytest.approx(1.0)
    figure = tmp_path / "both.png"
    commands.compare("1", "2", plot=figure, home=settings.home.root)
    told = capsys.readouterr().out
    assert "+0.1000" in told
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_list_shows_figures_aliases_and_failed_gates(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    moving.promote(settings, "offers", "2", "champion")
    commands.list_(home=settings.home.root)
    lines = capsys.readouterr().out.splitlines()
    assert any("0.8000" in line and "1 fails" in line for line in lines)
    assert any("0.7000" in line and "champion"[:5] in line for line in lines)
    commands.show("champion", home=settings.home.root)
    told = capsys.readouterr().out
    assert "0.6000 to 0.8000" in told
    assert "promoted" in told
    commands.history(home=settings.home.root)
    assert "champion" in capsys.readouterr().out


def test_an_empty_home_has_no_versions(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    commands.list_(home=home.root)
    assert "kairos train makes one" in capsys.readouterr().out
    with pytest.raises(VersionError, match="there are: none: train one"):
        commands.show("1", home=home.root)
