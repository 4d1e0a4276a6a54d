"""`kairos uplift`: for whom a treatment works, on the e-mail test, in files, and in Kairos' own holdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
import yaml

import kairos
from features.documents import DocumentError
from features.events.schema import Decision, Served, Slot
from models.uplift import UpliftError
from tests.training.archives import DAY, PRODUCTS, LiveShop, product, track, write
from training.plots import qini
from training.tables import TableError
from training.uplift import files, holdout, learning
from training.uplift.groups import Trial

if TYPE_CHECKING:
    from features.home import Home

ROOT = Path(__file__).parents[2]
EMAIL = ROOT.parent / "shared" / "data" / "hillstrom" / "hillstrom.csv.gz"
EXAMPLE = ROOT / "examples" / "trials" / "hillstrom.yaml"
needs_data = pytest.mark.skipif(not EMAIL.exists(), reason="the e-mail test is not on this machine")


@needs_data
def test_womens_mail_works_for_who_bought_womens_goods() -> None:
    finding = learning.find(files.read(EMAIL, EXAMPLE))
    assert finding.effect.value == pytest.approx(0.0452, abs=1e-4)
    assert finding.shows_for_whom
    assert list(finding.curves) == ["two models", "transformed outcome"]
    for curve in finding.curves.values():
        assert curve.area > 0.0044
        assert curve.area_low > 0.0015
    assert [group.name for group in finding.by_feature if group.differs][:2] == ["womens = 1", "womens = 0"]
    assert finding.by_score[0].effect.low > finding.by_score[-1].effect.high
    assert finding.suspicion == ""
    assert len(qini(finding.curves).axes) == 1


@needs_data
def test_mens_mail_works_and_is_not_said_to_work_for_some_more_than_for_others(tmp_path: Path) -> None:
    mapping = yaml.safe_load(EXAMPLE.read_text())
    mapping |= {
        "treated": "segment = 'Mens E-Mail'",
        "where": [{"keep": "segment <> 'Womens E-Mail'", "reason": "other"}],
    }
    path = tmp_path / "mens.yaml"
    path.write_text(yaml.safe_dump(mapping))
    finding = learning.find(files.read(EMAIL, path))
    assert finding.effect.low > 0.06
    assert not finding.shows_for_whom
    assert not any(group.differs for group in finding.by_feature)


MAPPING: dict[str, Any] = {"treated": "arm = 'mail'", "outcome": "bought", "features": {"town": "town", "age": "age"}}


def write_test(folder: Path, size: int = 6000, chosen: bool = False, **said: Any) -> tuple[Path, Path]:
    """A test in which the mail works in Rome only; `chosen`: Romans got it more often."""
    generator = np.random.default_rng(7)
    lines = ["arm,bought,town,age"]
    for _ in range(size):
        town = str(generator.choice(["Rome", "Oslo", "Lima"]))
        mailed = generator.random() < (0.7 if chosen and town == "Rome" else 0.5)
        bought = generator.random() < (0.35 if mailed and town == "Rome" else 0.15)
        age = "" if generator.random() < 0.1 else str(int(generator.integers(18, 80)))
        lines.append(f"{'mail' if mailed else 'none'},{int(bought)},{town},{age}")
    data, mapping = folder / "test.csv", folder / "mapping.yaml"
    data.write_text("\n".join(lines) + "\n")
    mapping.write_text(yaml.safe_dump(MAPPING | said))
    return data, mapping


class Run(Protocol):
    """Runs the command in this process: exit code, and what it printed."""

    def __call__(self, *arguments: str | Path) -> tuple[int, str]: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: str | Path) -> tuple[int, str]:
        words = ["uplift", *map(str, arguments)]
        with pytest.raises(SystemExit) as ended:
            kairos.build(words)(words)
        return int(ended.value.code or 0), capsys.readouterr().out

    return run_command


def test_the_command_says_for_whom_and_draws_it(tmp_path: Path, run: Run) -> None:
    data, mapping = write_test(tmp_path)
    code, told = run("--data", data, "--mapping", mapping, "--out", tmp_path / "qini.png")
    assert code == 0
    assert "it works" in told
    assert "It works for some more than for others" in told
    assert "town = Rome" in told
    assert (tmp_path / "qini.png").read_bytes().startswith(b"\x89PNG")


def test_a_treatment_that_was_not_drawn_at_random_is_not_trusted(tmp_path: Path, run: Run) -> None:
    data, mapping = write_test(tmp_path, chosen=True)
    code, told = run("--data", data, "--mapping", mapping)
    assert code == 3
    assert "do not trust this: the treatment was not drawn at random" in told
    assert "with town = Rome were treated" in told


def test_an_effect_that_is_the_same_for_all_is_not_said_to_differ() -> None:
    generator = np.random.default_rng(8)
    treated = generator.random(6000) < 0.5
    trial = Trial(
        units=[f"u-{at}" for at in range(6000)],
        matrix=generator.normal(size=(6000, 4)),
        names=["a", "b", "c", "d"],
        categories={},
        treated=treated,
        outcome=(generator.random(6000) < 0.2 + 0.1 * treated).astype(float),
    )
    finding = learning.find(trial)
    assert finding.effect.low > 0.0
    assert not finding.shows_for_whom
    assert not any(group.differs for group in finding.by_feature)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"treated": "age"}, TableError, "rows have no number as treated"),
        ({"treated": "length(town)"}, UpliftError, "treated is 1 or 0, true or false, and one is 4"),
        ({"treated": "true"}, UpliftError, "0 other units: at least 200"),
        ({"outcome": "town"}, TableError, "no number as outcome"),
        ({"outcome": "0"}, UpliftError, "0 of the .* treated units have an outcome"),
        ({"features": {"one": "1"}}, UpliftError, "no feature differs"),
        ({"features": {}}, DocumentError, "features"),
        ({"features": {"size": "shoe"}}, DocumentError, r"features.size: there is no column 'shoe'"),
    ],
)
def test_what_is_no_test_is_refused(tmp_path: Path, said: dict[str, Any], error: type[Exception], message: str) -> None:
    data, mapping = write_test(tmp_path, 1000, **said)
    with pytest.raises(error, match=message):
        learning.find(files.read(data, mapping))


def test_a_command_without_a_test_is_refused(run: Run) -> None:
    with pytest.raises(UpliftError, match="say --data and --mapping for a file, or --experiment"):
        run()
    with pytest.raises(UpliftError, match="say --data and --mapping"):
        run("--experiment", "holdout", "--data", "test.csv")


class Held:
    """A shop with a holdout: decisions help customers on a phone to buy."""

    def __init__(self, seed: int = 9) -> None:
        self.shop, self.generator = LiveShop(seed), np.random.default_rng(seed)

    def visit(self, customer: str, variant: str, device: str, **change: Any) -> str:
        shop = self.shop
        shop.happen(track(customer, shop.tick(0.5), "Product Viewed", product(1)))
        name = shop.decide(customer, {"hero": [1]}, [])
        decision = shop.events[-1]
        assert isinstance(decision, Decision)
        items = [Served(id=PRODUCTS[1], rank=1, priority=0.1, value=1.0, selection_probability=1.0)]
        said: dict[str, Any] = {
            "context": {"device": device},
            "variants": {"holdout": variant},
            "placements": [Slot(id="hero", limit=1, items=items)],
        }
        shop.events[-1] = type(decision)(
            **{field: getattr(decision, field) for field in decision.__struct_fields__} | said | change
        )
        return name

    def see(self, customer: str, decision: str) -> None:
        properties = {"decision_id": decision, "placement": "hero", "promotion_id": PRODUCTS[1]}
        self.shop.happen(track(customer, self.shop.tick(0.1), "Promotion Viewed", properties))

    def order(self, customer: str) -> None:
        self.shop.happen(track(customer, self.shop.tick(0.1), "Order Completed", {"products": [product(1)]}))

    def close(self, home: Home, days: int = 8) -> None:
        self.shop.happen(track("nobody", self.shop.tick(days * DAY / 1e6), "Product Viewed", product(0)))
        write(home, self.shop.events, partition=0)


def test_the_holdout_tells_for_whom_decisions_work(home: Home) -> None:
    held = Held()
    for number in range(1000):
        variant = "held" if held.generator.random() < 0.5 else "open"
        device = "mobile" if held.generator.random() < 0.5 else "desktop"
        customer = f"c-{number}"
        held.see(customer, held.visit(customer, variant, device))
        if held.generator.random() < (0.5 if (variant, device) == ("open", "mobile") else 0.15):
            held.order(customer)
    held.close(home)
    trial = holdout.read(home)
    assert len(trial.units) == 1000
    finding = learning.find(trial)
    assert finding.effect.low > 0.1
    assert finding.shows_for_whom
    assert finding.by_feature[0].name in ("device = mobile", "device = desktop")


def test_who_was_not_in_the_holdout_by_chance_or_for_long_enough_is_left_out(home: Home) -> None:
    held = Held()
    held.see("good", held.visit("good", "open", "mobile"))
    held.order("good")
    held.see("other", held.visit("other", "held", "mobile"))
    held.visit("unseen", "open", "mobile")
    held.see("forced", held.visit("forced", "open", "mobile", forced=["holdout"]))
    held.see("unread", held.visit("unread", "open", "mobile", unassigned=True))
    held.see("robot", held.visit("robot", "open", "mobile", bot=True))
    for variant in ("open", "held"):
        held.see("both", held.visit("both", variant, "mobile"))
    held.shop.tick(8 * DAY / 1e6)
    held.see("late", held.visit("late", "open", "mobile"))
    held.close(home, days=1)
    trial = holdout.read(home)
    assert trial.units == ["good", "other"]
    assert trial.treated.tolist() == [True, False]
    assert trial.outcome.tolist() == [1.0, 0.0]
    with pytest.raises(UpliftError, match=r"experiment 'hero-test'.*nobody is in it"):
        holdout.read(home, "hero-test", "b", "a")
