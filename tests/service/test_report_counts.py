"""Experiments that were run elsewhere, from a table of counts; and the verbs of experiments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from service.experiments import commands
from service.experiments.inference.planning import PlanError
from service.experiments.reports import counts
from service.experiments.reports.counts import CountsError
from tests.service.experimenting import catalog, shop, write

if TYPE_CHECKING:
    from features.home import Home

UPWORTHY = Path(__file__).parents[3] / "shared" / "data" / "upworthy" / "packages.parquet"
BROKEN = (201326, 201402)
"""Weeks in which the publisher knows that arms did not get equal shares."""


def kairos(*arguments: str | Path) -> None:
    commands.experiment([str(each) for each in arguments], result_action="return_value")


def text(path: Path, lines: str) -> Path:
    path.write_text(lines)
    return path


def test_many_experiments_are_analysed_as_each_alone(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    rows = []
    for experiment in range(30):
        for arm in range(generator.integers(2, 6)):
            units = int(generator.integers(500, 1500))
            rows.append((f"e-{experiment}", f"v-{arm}", units, int(generator.binomial(units, 0.1))))
    generator.shuffle(rows)
    names = ("experiment", "arm", "units", "conversions")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    path = tmp_path / "counts.csv"
    pc_csv.write_csv(
        pa.table(
            {"experiment": columns["experiment"], "arm": columns["arm"]}
            | {name: pa.array([int(value) for value in columns[name]]) for name in names[2:]}
        ),
        path,
    )
    table = counts.read(path)
    results = counts.analyse(table)
    assert sorted(table.names) == sorted({row[0] for row in rows})
    for at, name in enumerate(table.names):
        mine = [row for row in rows if row[0] == name]
        assert table.arms[at] == [row[1] for row in mine]
        assert results.mismatch[at] == pytest.approx(stats.chisquare([int(row[2]) for row in mine]).pvalue)
        samples = [np.repeat([1.0, 0.0], [int(row[3]), int(row[2]) - int(row[3])]) for row in mine]
        p = [stats.ttest_ind(other, samples[0], equal_var=False).pvalue for other in samples[1:]]
        np.testing.assert_allclose(results.difference.p[at, : len(p)], p)
        if at < 4:  # statsmodels takes its time
            np.testing.assert_allclose(results.adjusted[at, : len(p)], multipletests(p, method="holm")[1])
        assert np.isnan(results.adjusted[at, len(p) :]).all()


def test_amounts_and_uneven_shares_are_read_too(tmp_path: Path) -> None:
    path = text(
        tmp_path / "counts.csv",
        "experiment,arm,units,sum,sum_of_squares,share\ne,a,100,500,3000,0.2\ne,b,400,2400,16000,0.8\n",
    )
    table = counts.read(path)
    results = counts.analyse(table)
    assert results.mismatch[0] == 1.0
    expected = stats.ttest_ind_from_stats(
        6.0, np.sqrt((16000 - 400 * 36) / 399), 400, 5.0, np.sqrt((3000 - 100 * 25) / 99), 100, equal_var=False
    )
    assert results.difference.p[0, 0] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("experiment,arm,conversions\ne,a,1\n", "no column 'units'"),
        ("experiment,arm,units\ne,a,1\n", "`conversions` are needed"),
        ("experiment,arm,units,conversions\n", "has no rows"),
        ("experiment,arm,units,conversions\ne,a,10,11\n", "more conversions than units"),
        ("experiment,arm,units,conversions\ne,a,10,1\ne,a,10,1\n", "the arm 'a' twice"),
        ("experiment,arm,units,conversions\ne,a,10,1\ne,b,-3,1\n", ":3: -3 is no units"),
        ("experiment,arm,units,conversions\ne,a,ten,1\n", ":2: ten is no units"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(CountsError, match=said):
        counts.analyse(counts.read(text(tmp_path / "counts.csv", lines)))


ODD = {
    "negative": "-5,1",
    "more conversions than units": "5,9",
    "blank": ",1",
    "text": "many,1",
    "infinite": "inf,1",
    "no number": "nan,nan",
}


def test_what_is_wrong_with_an_experiment_costs_that_one_and_is_told_with_its_line(tmp_path: Path) -> None:
    sound = [f"e-{number},{arm},{100 + number},{number % 7}" for number in range(50) for arm in "ab"]
    few = ["empty,a,0,0", "empty,b,0,0", "alone,a,10,1", "none,a,10,0", "none,b,10,0", "all,a,10,10", "all,b,10,10"]
    odd = [line for name, said in ODD.items() for line in (f"{name},a,100,5", f"{name},b,{said}")]
    odd += ["twice,a,10,1", "twice,a,10,1", ",a,10,1", ",b,10,1"]
    lines = ["experiment,arm,units,conversions", *sound[:60], *odd, *sound[60:], *few]
    table = counts.read(text(tmp_path / "counts.csv", "\n".join(lines)))
    assert len(table.names) == 54
    assert {one.experiment for one in table.left_out} == {*ODD, "twice", ""}
    assert {one.experiment: one.line for one in table.left_out}["negative"] == 1 + 60 + 2
    alone = counts.analyse(counts.read(text(tmp_path / "sound.csv", "\n".join([lines[0], *sound, *few]))))
    together = counts.analyse(table)
    np.testing.assert_array_equal(together.mismatch, alone.mismatch)
    np.testing.assert_array_equal(together.difference.p, alone.difference.p)
    assert not together.alarms.any()
    kairos("analyse", tmp_path / "counts.csv", "--out", tmp_path / "out.csv")
    assert len(pc_csv.read_csv(tmp_path / "out.csv")) == 107


def test_sums_that_no_arm_can_have_are_left_out(tmp_path: Path) -> None:
    header = "experiment,arm,units,sum,sum_of_squares"
    rows = ["good,a,10,20,50", "good,b,10,-20,50", "flat,a,10,20,40", "flat,b,0,0,0"]
    odd = ["less,a,10,20,39", "less,b,1,1,1", "of none,a,0,3,9"]
    table = counts.read(text(tmp_path / "counts.csv", "\n".join([header, *rows, *odd])))
    assert np.isnan(counts.analyse(table).value[1]).tolist() == [False, True]
    assert table.names == ["good", "flat"]
    assert [one.experiment for one in table.left_out] == ["less", "of none"]
    shares = "experiment,arm,units,conversions,share\ne,a,10,1,0\ne,b,10,1,0\n"
    with pytest.raises(CountsError, match="the shares of 'e' add up to nothing"):
        counts.read(text(tmp_path / "counts.csv", shares))


def test_the_known_period_of_broken_randomisation_lights_up_and_the_rest_does_not(tmp_path: Path) -> None:
    if not UPWORTHY.exists():
        pytest.skip("the Upworthy research archive is not there; its publisher is named in the README")
    arms = pq.read_table(UPWORTHY, columns=["clickability_test_id", "impressions", "clicks", "test_week"])
    arms = arms.filter(pc.greater(arms["impressions"], 0))
    arms = arms.append_column("arm", pa.array(range(len(arms))))
    path = tmp_path / "upworthy.parquet"
    pq.write_table(arms.rename_columns(["experiment", "units", "conversions", "week", "arm"]), path)
    table = counts.read(path, by="week")
    results = counts.analyse(table)
    weeks = np.array([int(label) for label in table.labels])
    broken = (weeks >= BROKEN[0]) & (weeks <= BROKEN[1])
    assert len(table.names) > 2000
    assert results.alarms[broken].mean() == pytest.approx(0.67, abs=0.03)
    assert results.alarms[~broken].mean() < 0.02
    sure = np.nanmin(np.where(np.isnan(results.difference.p), 1.0, results.difference.p), axis=1)
    assert 0.25 < (sure[~broken] < 0.05).mean() < 0.6


def test_the_verb_analyses_tells_groups_and_writes_all_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = text(
        tmp_path / "counts.csv",
        "experiment,arm,units,conversions,week\n"
        "good,a,1000,50,1\ngood,b,1010,100,1\nbad,a,1000,50,2\nbad,b,1400,100,2\n",
    )
    out = tmp_path / "out.csv"
    kairos("analyse", path, "--by", "week", "--out", out)
    assert "2 experiments, 4 arms" in (shown := capsys.readouterr().out)
    assert "Worst mismatches" in shown
    written = pc_csv.read_csv(out).to_pylist()
    assert [row["mismatch"] for row in written] == [False, False, True, True]
    assert written[0]["difference"] is None
    assert written[1]["lift"] == pytest.approx(100 / 1010 / 0.05 - 1)


def test_the_planners_verb_answers_both_ways_round_and_refuses_neither(capsys: pytest.CaptureFixture[str]) -> None:
    kairos("plan", "--mean", "0.05", "--effect", "0.1", "--mode", "fixed", "--daily", "1000")
    assert "62,4" in (shown := capsys.readouterr().out)
    assert "63 days" in shown
    kairos("plan", "--mean", "0.05", "--units", "62460", "--mode", "fixed")
    assert "+10.00%" in capsys.readouterr().out
    for shares in (["--shares", "0.9", "0.1"], ["--shares", "0.9", "--shares", "0.1"]):
        kairos("plan", "--mean", "0.05", "--effect", "0.1", "--mode", "fixed", *shares)
        assert capsys.readouterr().out.startswith("179,749 units")
    with pytest.raises(PlanError, match="of --effect and --units, one is needed"):
        kairos("plan", "--mean", "0.05")


def test_the_reports_verb_prints_and_writes_a_page(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.catalog.write_bytes(msgspec.yaml.encode(catalog(analysis={"segments": ["device"]})))
    write(home, shop(customers=400))
    page = home.root / "report.html"
    kairos("report", "hero-test", "--html", page, "--home", home.root)
    assert "hero-test (running, sequential)" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")
    kairos("report", "hero-test", "--json", "--home", home.root)
    assert msgspec.json.decode(capsys.readouterr().out)["units"] == 400


def test_an_experiment_that_is_none_is_one_line(home: Home) -> None:
    home.catalog.write_bytes(msgspec.yaml.encode(catalog()))
    answer = subprocess.run(
        [sys.executable, "-m", "kairos", "experiment", "report", "no-such", "--home", home.root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr == "kairos: the catalog has no experiment 'no-such'; it has: hero-test\n"
