"""The skew audit: what decisions were made with beside what training joins for them, feature by feature.

The customer's row was logged with each decision; Feast joins it as of the row's own timestamp, candidates as of the
logged snapshot. Both go through the code that serves. Propensities are compared too, and with them the candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import archive
from features.aggregates.rows import LAYOUTS
from models.bundle import BundleError, load
from training.collector import Collector
from training.dataset import Source
from training.labels import read_zone
from training.logged import read_decisions

if TYPE_CHECKING:
    from pathlib import Path

    from feast import FeatureStore

    from features.events.schema import Decision
    from features.home import Home
    from training.labels import Floats, Queries

SAMPLE = 1000
"""Decisions compared, the newest."""
RELATIVE, ABSOLUTE = 1e-6, 1e-9
MOST = 0.001
"""Share of mismatching values above which a feature is skewed."""
OF_CANDIDATES, OF_REQUESTS = "candidate__", "context__"
"""Features that do not depend on the customer's row: they are compared through propensities."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One feature, or the propensities of one model."""

    name: str
    compared: int
    mismatching: int
    largest: float
    """Of the differences; NaN where one side is missing."""

    @property
    def share(self) -> float:
        return self.mismatching / self.compared if self.compared else 0.0


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    decisions: int
    other_layouts: int
    """Decisions left out: they were made when other features were declared."""
    lines: list[Line]
    """The most skewed first."""

    def skewed(self, most: float = MOST) -> list[Line]:
        return [line for line in self.lines if line.share > most]


def audit(home: Home, store: FeatureStore, sample: int = SAMPLE) -> Audit:
    """Compare the newest `sample` decisions that read the customer. The historical store must be current."""
    decisions = _newest(home, sample)
    known = [it for it in decisions if it.state is None or it.state.layout == LAYOUTS["customer"].version]
    collector = Collector(read_zone(home), with_states=True)
    labels: list[str] = []
    propensities: list[float] = []
    for decision in known:
        supplied = {str(each.get("id")) for each in decision.supplied}  # their attributes came with the request
        for slot in decision.placements:
            items = [item for item in slot.items if item.id not in supplied]
            if items:
                collector.add(decision, slot.id, [(item.id, item.rank, False, 0.0) for item in items])
                labels += [slot.model or ""] * len(items)
                propensities += [np.nan if item.propensity is None else item.propensity for item in items]
    if not len(collector):
        return Audit(decisions=0, other_layouts=len(decisions) - len(known), lines=[])
    served = collector.finish()
    joined, logged = (
        _features(home, store, msgspec.structs.replace(served, states=it)) for it in (None, served.states)
    )
    lines = [
        _compare(name, joined[name], logged[name])
        for name in joined
        if not name.startswith((OF_CANDIDATES, OF_REQUESTS))
    ]
    lines += _compare_propensities(home.bundles, joined, np.array(labels), np.array(propensities))
    return Audit(
        decisions=len(known),
        other_layouts=len(decisions) - len(known),
        lines=sorted(lines, key=lambda line: -line.share),
    )


def _newest(home: Home, sample: int) -> list[Decision]:
    """Decisions for which the customer's row counted."""
    arrivals = archive.read(home.archive, ["arrival"], types=["decision"])["arrival"]
    if not len(arrivals):
        return []
    newest = np.sort(arrivals.to_numpy())[-sample:]
    decisions = read_decisions(home, since=int(newest[0]))
    return [it for it in decisions if it.readable and it.personalised and it.rung != "static"]


def _features(home: Home, store: FeatureStore, queries: Queries) -> dict[str, Floats]:
    chunks = list(Source(home, store).read(queries))
    return {name: np.concatenate([chunk.features[name] for chunk in chunks]) for name in chunks[0].features}


def _compare(name: str, joined: Floats, logged: Floats) -> Line:
    missing = np.isnan(joined) | np.isnan(logged)
    alike = np.isclose(joined, logged, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    apart = np.abs(joined - logged)[~missing & ~alike]
    only_missing = bool((~alike).any()) and not len(apart)
    largest = float("nan") if only_missing else float(apart.max(initial=0.0))
    return Line(name=name, compared=len(joined), mismatching=int((~alike).sum()), largest=largest)


def _compare_propensities(bundles: Path, joined: dict[str, Floats], labels: object, said: Floats) -> list[Line]:
    """Of each model that is still there: what it says of the joined features beside what it said."""
    of = np.asarray(labels)
    lines = []
    for label in sorted({str(each) for each in of.tolist() if each}):
        name, _, version = label.rpartition("/")
        rows = (of == label) & ~np.isnan(said)
        if not rows.any():
            continue
        try:
            model = load(bundles / name / version)
        except BundleError:
            continue  # its files are gone
        again = model.propensities({feature: values[rows] for feature, values in joined.items()})
        lines.append(_compare(f"propensity of {label}", again, said[rows]))
    return lines
