"""An experiment as its report sees it: arms, what is counted of each unit, and which weights were in force when."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from service.catalog import publications
from service.experiments.analysis import Analysis, Metric, Source

if TYPE_CHECKING:
    from features.home import Home
    from service.catalog.schema import Catalog

VERSION = 2
"""Of what is kept of an experiment between reports: raised with every change of its meaning."""
NOTED = 5_000_000
"""Microseconds within which any catalog is in the history."""
HOLDOUT, HELD, OPEN = "holdout", "held", "open"
ORDERED, REFUNDED = "Order Completed", "Order Refunded"


class UnknownTrialError(ValueError):
    """The catalog has no such experiment."""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One amount of a unit: the number, or the sum, of events."""

    event: str
    property: str | None = None
    is_money: bool = False
    where: dict[str, str | float | bool] = {}
    placements: tuple[str, ...] | None = None
    within: int | None = None
    """Microseconds after the enrolment."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment, or the global holdout."""

    id: str
    unit: str
    placements: tuple[str, ...] | None
    arms: tuple[str, ...]
    shares: tuple[float, ...]
    """Meant for each arm now; they add up to 1."""
    status: str
    ends: Any
    analysis: Analysis
    currency: str
    allocation: str = "fixed"
    """`fixed`, `thompson` or `interleaved`."""
    floor: float = 0.0
    moves: tuple[tuple[int, tuple[float, ...]], ...] = ()
    """Since when (microseconds), and the shares of the arms from then on, where they moved."""

    @property
    def control(self) -> int:
        """Its place among the arms."""
        return 0 if self.analysis.control is None else self.arms.index(self.analysis.control)

    @property
    def is_interleaved(self) -> bool:
        return self.allocation == "interleaved"

    def may_have_been(self, arm: int, chance: float) -> bool:
        """Whether an arm's weight has ever been about that, as a page tells of a flag; buckets round it."""
        least = min(shares[arm] for shares in (self.shares, *(shares for _, shares in self.moves)))
        return least / 2 <= chance <= 1.0

    @property
    def lookback(self) -> int:
        """Of the covariate, in microseconds; 0: there is none."""
        length = self.analysis.lookback
        return int(length.total_seconds() * 1e6) if length is not None and self.analysis.adjusted else 0

    @property
    def measures(self) -> tuple[Measure, ...]:
        """In the order of the metrics, where a ratio has two; of interleaved slates, the clicks of each arm."""
        if self.is_interleaved:
            return tuple(Measure(event="", within=None) for _ in self.arms)
        return tuple(measure for metric in self.analysis.metrics for measure in measures_of(metric, self.placements))

    @property
    def fingerprint(self) -> str:
        """Changes with what is kept of the experiment between reports."""
        kept = (VERSION, self.id, self.unit, self.placements, self.arms, self.lookback, self.analysis.segments)
        said = msgspec.json.encode([*kept, self.measures, self.currency, *["interleaved"] * self.is_interleaved])
        return hashlib.blake2b(said, digest_size=12).hexdigest()


def find(catalog: Catalog, name: str) -> Trial:
    """The experiment of that id; `holdout` is the global one. Raises UnknownTrialError."""
    if name == HOLDOUT and catalog.holdout is not None:
        share = catalog.holdout.share
        return Trial(
            id=HOLDOUT,
            unit="customer",
            placements=None,
            arms=(HELD, OPEN),
            shares=(share, 1 - share),
            status="running",
            ends=None,
            analysis=catalog.holdout.analysis,
            currency=catalog.currency,
        )
    for experiment in catalog.experiments:
        if experiment.id == name:
            return Trial(
                id=name,
                unit=experiment.unit,
                placements=None if experiment.placements is None else tuple(experiment.placements),
                arms=tuple(variant.id for variant in experiment.variants),
                shares=spread([variant.weight for variant in experiment.variants]),
                status=experiment.status,
                ends=experiment.ends,
                analysis=experiment.analysis,
                currency=catalog.currency,
                allocation=experiment.allocation.kind,
                floor=experiment.allocation.floor,
                moves=tuple((move.since, move.weights) for move in experiment.moves),
            )
    known = ", ".join(sorted(each.id for each in catalog.experiments)) or "none"
    raise UnknownTrialError(f"the catalog has no experiment {name!r}; it has: {known}")


def spread(weights: list[float | None]) -> tuple[float, ...]:
    """Shares that add up to 1; equal ones where nothing is said."""
    given = [1.0 if weight is None else weight for weight in weights]
    whole = sum(given)
    return tuple(weight / whole for weight in given) if whole else tuple(1 / len(given) for _ in given)


def measures_of(metric: Metric, placements: tuple[str, ...] | None) -> tuple[Measure, ...]:
    """What is counted for a metric. Of events of a placement, only those in the experiment's placements."""
    sources = [metric.numerator, metric.denominator]
    if metric.event is not None:
        sources = [Source(event=metric.event, property=metric.property, where=metric.where)]
    within = None if metric.within is None else int(metric.within.total_seconds() * 1e6)
    return tuple(
        Measure(
            event=source.event,
            property=source.property,
            is_money=metric.kind == "revenue" and source.property is None,
            where=dict(source.where),
            placements=placements if source.event.startswith("Promotion ") else None,
            within=within,
        )
        for source in sources
        if source is not None
    )


class Past:
    """The experiment in earlier versions of the catalog, read when a decision names one."""

    def __init__(self, home: Home, trial: Trial) -> None:
        self._home, self._trial = home, trial
        self._known: dict[str, dict[str, float] | None] = {}
        self._times: list[int] | None = None
        self._versions: list[str] = []

    def shares_at(self, time: int) -> dict[str, float] | None:
        """The same of the version that was live at a time; before the first that is known, the present one. What was
        put live by hand is in the history a moment later.
        """
        found = self._shares_at(time)
        return self._shares_at(time + NOTED) if found is None else found

    def _shares_at(self, time: int) -> dict[str, float] | None:
        if self._times is None:
            is_kept = publications.has_history(self._home)  # else it would be looked for in the whole archive
            found = sorted((one.time, one.version) for one in (publications.history(self._home) if is_kept else ()))
            self._times, self._versions = [at for at, _ in found], [version for _, version in found]
        place = bisect_right(self._times, time) - 1
        return self.shares(self._versions[place] if place >= 0 else "")

    def shares(self, version: str) -> dict[str, float] | None:
        """Arm -> its share in that version; None where the experiment did not run, so that nobody was enrolled by it.

        A version whose text is not kept counts as the present one.
        """
        if version not in self._known:
            self._known[version] = self._read(version)
        return self._known[version]

    def _read(self, version: str) -> dict[str, float] | None:
        present = dict(zip(self._trial.arms, self._trial.shares, strict=True))
        try:
            document = yaml.load((self._home.catalogs / f"{version}.yaml").read_text(), yaml.CSafeLoader)
        except (OSError, yaml.YAMLError):
            return present
        if not isinstance(document, dict):
            return present
        if self._trial.id == HOLDOUT:
            share = (document.get("holdout") or {}).get("share")
            return {HELD: float(share), OPEN: 1 - float(share)} if share else None
        for experiment in document.get("experiments") or ():
            if str(experiment.get("id")) == self._trial.id:
                if experiment.get("status", "draft") != "running":
                    return None
                variants = experiment["variants"]
                shares = spread([variant.get("weight") for variant in variants])
                return {str(variant["id"]): share for variant, share in zip(variants, shares, strict=True)}
        return None
