"""`kairos off-policy` on files: the Open Bandit data against a straightforward computation, and what is refused."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
import yaml

import kairos
from features.documents import DocumentError
from features.imports.sources import SourceError
from models.off_policy import OffPolicyError
from training.off_policy.files import value_files
from training.tables import TableError

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
BANDIT = ROOT.parent / "shared" / "data" / "obd"
EXAMPLE = ROOT / "examples" / "trials" / "open_bandit.yaml"
MAPPING = {"action": "item", "probability": "chance", "reward": "click"}
needs_data = pytest.mark.skipif(not BANDIT.is_dir(), reason="the Open Bandit data is not on this machine")


def open_bandit(policy: str) -> Path:
    return BANDIT / policy / "men" / "men.csv.gz"


def read_rows(policy: str) -> list[tuple[str, str, float, float]]:
    """(position, item, chance, click) of each row, by the standard library alone."""
    with gzip.open(open_bandit(policy), "rt") as file:
        return [
            (row["position"], row["item_id"], float(row["propensity_score"]), float(row["click"]))
            for row in csv.DictReader(file)
        ]


def straightforward(log: str, target: str) -> tuple[float, float]:
    """SNIPS and DR as their formulas are written, row by row; the model of rewards is smoothed means of other folds."""
    chances = defaultdict(list)
    for position, item, chance, _ in read_rows(target):
        chances[position, item].append(chance)
    policy = {cell: sum(values) / len(values) for cell, values in chances.items()}
    for position in {cell[0] for cell in policy}:
        total = sum(chance for cell, chance in policy.items() if cell[0] == position)
        policy |= {cell: chance / total for cell, chance in policy.items() if cell[0] == position}
    rows = read_rows(log)
    items = {item for _, item, _, _ in rows}
    models = []
    for fold in range(5):
        others = [row for at, row in enumerate(rows) if at % 5 != fold]
        overall = sum(row[3] for row in others) / len(others)
        of_item, of_cell = defaultdict(list), defaultdict(list)
        for position, item, _, click in others:
            of_item[item].append(click)
            of_cell[position, item].append(click)
        wider = {item: (sum(of_item[item]) + 2.0 * overall) / (len(of_item[item]) + 2.0) for item in items}
        models.append(
            {
                (position, item): (sum(of_cell[position, item]) + 2.0 * wider[item])
                / (len(of_cell[position, item]) + 2.0)
                for position in ("1", "2", "3")
                for item in items
            }
        )
    means = [
        {slot: sum(policy[slot, item] * model[slot, item] for item in items) for slot in ("1", "2", "3")}
        for model in models
    ]
    weighted = weights = robust = 0.0
    for at, (position, item, chance, click) in enumerate(rows):
        weight = policy[position, item] / chance
        weighted, weights = weighted + weight * click, weights + weight
        robust += means[at % 5][position] + weight * (click - models[at % 5][position, item])
    return weighted / weights, robust / len(rows)


@needs_data
@pytest.mark.parametrize(("log", "target"), [("random", "bts"), ("bts", "random")])
def test_open_bandit_estimates_are_those_of_a_straightforward_computation(log: str, target: str) -> None:
    valued = value_files(open_bandit(log), open_bandit(target), EXAMPLE).valuation
    assert valued.doubly_robust is not None
    shares, robust = straightforward(log, target)
    assert valued.self_normalised.value == pytest.approx(shares, abs=1e-6, rel=1e-6)
    assert valued.doubly_robust.value == pytest.approx(robust, abs=1e-6, rel=1e-6)


@needs_data
def test_the_random_log_tells_what_the_other_policy_earned() -> None:
    valued = value_files(open_bandit("random"), open_bandit("bts"), EXAMPLE)
    for estimate in (
        valued.valuation.inverse_probability,
        valued.valuation.self_normalised,
        valued.valuation.direct,
        valued.valuation.doubly_robust,
    ):
        assert estimate is not None
        assert estimate.low < 0.0069 < estimate.high
    assert valued.earned.value == pytest.approx(0.0069)
    assert valued.valuation.inverse_probability.value == pytest.approx(0.00551, abs=1e-5)
    assert valued.valuation.self_normalised.value == pytest.approx(0.00555, abs=1e-5)
    assert valued.valuation.support.effective == pytest.approx(4120, abs=1)
    assert valued.valuation.is_trusted
    assert "add up to 2.34" in valued.notes[0]


@needs_data
def test_the_other_way_the_sample_is_thinner() -> None:
    valued = value_files(open_bandit("bts"), open_bandit("random"), EXAMPLE).valuation
    assert valued.support.effective == pytest.approx(656, abs=1)
    assert valued.self_normalised.value == pytest.approx(0.00319, abs=1e-5)
    assert valued.self_normalised.low < 0.0046 < valued.self_normalised.high


def write_log(path: Path, rows: Iterable[tuple[Any, ...]], header: str = "item,chance,click") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def write_mapping(folder: Path, **said: Any) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(MAPPING | said))
    return path


def draw_log(path: Path, shares: dict[str, float], size: int = 4000, seed: int = 1) -> Path:
    """Items picked by chance, of which a is clicked in 30 % and others in 10 %."""
    generator = np.random.default_rng(seed)
    items = generator.choice(list(shares), size, p=list(shares.values()))
    clicks = generator.random(size) < np.where(items == "a", 0.3, 0.1)
    return write_log(path, [(item, shares[item], int(click)) for item, click in zip(items, clicks, strict=True)])


class Run(Protocol):
    """Runs the command in this process: exit code, and what it printed."""

    def __call__(self, *arguments: str | Path) -> tuple[int, str]: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: str | Path) -> tuple[int, str]:
        words = ["off-policy", *map(str, arguments)]
        with pytest.raises(SystemExit) as ended:
            kairos.build(words)(words)
        return int(ended.value.code or 0), capsys.readouterr().out

    return run_command


def test_the_command_prints_the_estimates_and_their_support(tmp_path: Path, run: Run) -> None:
    log = draw_log(tmp_path / "ours.csv", {"a": 0.2, "b": 0.8})
    target = draw_log(tmp_path / "theirs.csv", {"a": 0.7, "b": 0.3}, seed=2)
    code, told = run("--log", log, "--target", target, "--mapping", write_mapping(tmp_path))
    assert code == 0
    for text in ("IPS", "SNIPS", "DM", "DR", "95 % interval", "effective sample", "largest weight 3.5", "supported"):
        assert text in told


def test_the_command_says_when_a_log_is_not_to_be_trusted(tmp_path: Path, run: Run) -> None:
    log = draw_log(tmp_path / "ours.csv", {"a": 0.005, "b": 0.995})
    target = draw_log(tmp_path / "theirs.csv", {"a": 0.99, "b": 0.01}, seed=2)
    code, told = run("--log", log, "--target", target, "--mapping", write_mapping(tmp_path))
    assert code == 3
    assert "do not trust this" in told
    assert "the effective sample is" in told


def test_what_the_log_never_tried_is_not_trusted_however_large_it_is(tmp_path: Path) -> None:
    log = draw_log(tmp_path / "ours.csv", {"b": 0.5, "c": 0.5})
    target = draw_log(tmp_path / "theirs.csv", {"a": 0.3, "b": 0.7}, seed=2)
    support = value_files(log, target, write_mapping(tmp_path)).valuation.support
    assert support.verdict == "do not trust"
    assert support.uncovered == pytest.approx(0.3)


@pytest.mark.parametrize("arguments", [["--log", "a.csv"], ["--model", "champion", "--log", "a.csv"], []])
def test_a_command_without_what_it_needs_is_refused(run: Run, arguments: list[str]) -> None:
    with pytest.raises(OffPolicyError, match="say --log, --target and --mapping for two files, or --model"):
        run(*arguments)


def test_slates_are_read_from_above_to_below(tmp_path: Path) -> None:
    """A file in any order, whose first picks alone tell the policies apart."""
    generator = np.random.default_rng(3)
    rows = []
    for page in range(2000):
        first = "a" if generator.random() < 0.5 else "b"
        second = "b" if first == "a" else "a"
        rows.append((f"p{page}", 2, second, 1.0, 0))
        rows.append((f"p{page}", 1, first, 0.5, int(generator.random() < (0.3 if first == "a" else 0.1))))
    header = "page,rank,item,chance,click"
    log = write_log(tmp_path / "ours.csv", rows, header)
    shown = [(f"p{page}", rank, item, 1.0, 0) for page in range(50) for rank, item in ((1, "a"), (2, "b"))]
    target = write_log(tmp_path / "theirs.csv", shown, header)
    valued = value_files(log, target, write_mapping(tmp_path, slate="page", rank="rank::INTEGER", context=["rank"]))
    estimate = valued.valuation.self_normalised
    assert valued.valuation.support.slates == 2000
    assert estimate.low < 0.3 < estimate.high
    assert estimate.value == pytest.approx(0.3, abs=0.05)


GOOD = [("a", 0.5, 1), ("b", 0.5, 0)] * 50


@pytest.mark.parametrize(
    ("rows", "mapping", "error", "message"),
    [
        ([*GOOD, ("a", 0.0, 1)], {}, OffPolicyError, r"ours.csv: 1 of 101 probabilities do not lie above 0.*row 101"),
        ([*GOOD, ("a", 1.5, 1)], {}, OffPolicyError, "do not lie above 0 and up to 1"),
        ([*GOOD, ("a", "often", 1)], {}, TableError, "1 of 101 rows have no number as probability; row 101"),
        ([*GOOD, ("a", 0.5, "")], {}, TableError, "no number as reward"),
        ([*GOOD, ("", 0.5, 1)], {}, TableError, "1 of 101 rows have no action"),
        ([], {}, TableError, "there are no rows in it"),
        (GOOD, {"where": [{"keep": "click = '7'", "reason": "none"}]}, TableError, "no rows in it that `where` keeps"),
        (GOOD, {"action": "product"}, DocumentError, r"mapping.yaml:1:\d+: action: there is no column 'product'"),
        (GOOD, {"reward": "click +"}, DocumentError, "reward: neither a column"),
        (GOOD, {"slate": "item"}, DocumentError, "slate and rank go together"),
        (GOOD, {"colour": "item"}, DocumentError, "colour"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    tmp_path: Path, rows: list[tuple[Any, ...]], mapping: dict[str, Any], error: type[Exception], message: str
) -> None:
    log = write_log(tmp_path / "ours.csv", rows)
    target = write_log(tmp_path / "theirs.csv", GOOD)
    with pytest.raises(error, match=message):
        value_files(log, target, write_mapping(tmp_path, **mapping))


def test_files_that_are_not_there_or_no_tables_are_refused(tmp_path: Path) -> None:
    good = write_log(tmp_path / "good.csv", GOOD)
    with pytest.raises(SourceError, match="there is no such file"):
        value_files(tmp_path / "missing.csv", good, write_mapping(tmp_path))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match=r"broken.parquet: cannot be read as parquet"):
        value_files(broken, good, write_mapping(tmp_path))
    with pytest.raises(DocumentError, match="nowhere"):
        value_files(good, good, tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["", "item,chance,click\n"])
def test_a_file_without_rows_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    good = write_log(tmp_path / "good.csv", GOOD)
    nothing = tmp_path / "nothing.csv"
    nothing.write_text(text)
    for log, target in ((nothing, good), (good, nothing)):
        with pytest.raises(TableError, match=r"nothing.csv: there are no rows in it$"):
            value_files(log, target, write_mapping(tmp_path))


def test_contexts_that_the_target_never_had_are_left_out_or_refused(tmp_path: Path) -> None:
    header = "item,chance,click,slot"
    target = write_log(tmp_path / "theirs.csv", [(*row, 1) for row in GOOD], header)
    few = write_log(tmp_path / "few.csv", [*((*row, 1) for row in GOOD), ("a", 0.5, 1, 2)], header)
    valued = value_files(few, target, write_mapping(tmp_path, context=["slot"]))
    assert valued.valuation.support.slates == 100
    assert "never logged: left out" in valued.notes[0]
    many = write_log(tmp_path / "many.csv", [(*row, 1 + at % 2) for at, row in enumerate(GOOD)], header)
    with pytest.raises(OffPolicyError, match="50% of the log's rows are in contexts"):
        value_files(many, target, write_mapping(tmp_path, context=["slot"]))
