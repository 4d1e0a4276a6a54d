"""Two versions side by side: what they measured, what they are made of, and what their runs were told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from models import bundle
from training.intervals import Interval

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from models.bundle import Bundle, Description
    from training.versions.listing import Version

SHOWN = 20
"""Features with the largest difference of importance."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of both."""

    version: Version
    metrics: dict[str, Interval]
    importances: dict[str, float]
    """Feature -> its share of the gain of all splits."""

    @property
    def label(self) -> str:
        return f"{self.version.description.name} {self.version.description.version}"


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    left: Side
    right: Side

    @property
    def is_paired(self) -> bool:
        """Whether both were judged by the same test, so that their figures may be compared."""
        left, right = self.left.version.description, self.right.version.description
        return (left.data_digest, left.window, left.labels, left.reward) == (
            right.data_digest,
            right.window,
            right.labels,
            right.reward,
        )

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """(what, of the left one, of the right one)"""
        sides = [_tell(side.version.description) for side in (self.left, self.right)]
        return [(name, sides[0][name], sides[1][name]) for name in sides[0]]

    @property
    def shifts(self) -> list[tuple[str, float | None, float | None]]:
        """Features by how much their importance differs; None where a model does not know them."""
        left, right = self.left.importances, self.right.importances
        names = sorted({*left, *right}, key=lambda name: -abs(left.get(name, 0.0) - right.get(name, 0.0)))
        return [(name, left.get(name), right.get(name)) for name in names[:SHOWN]]


def compare(bundles: Path, left: Version, right: Version) -> Pair:
    """Raises BundleError if one cannot be loaded."""
    return Pair(left=_read(bundles, left), right=_read(bundles, right))


def draw(pair: Pair) -> Figure:
    """Every metric of both with its interval."""
    from training import plots

    return plots.comparison({side.label: side.metrics for side in (pair.left, pair.right)}, pair.right.label)


def _read(bundles: Path, version: Version) -> Side:
    described = version.description
    loaded = bundle.load(bundles / described.name / described.version)
    nan = float("nan")
    metrics = {
        name: Interval(value, *described.intervals.get(name, (nan, nan))) for name, value in described.metrics.items()
    }
    return Side(version=version, metrics=metrics, importances=_weigh(loaded))


def _weigh(loaded: Bundle) -> dict[str, float]:
    gain = loaded.booster.feature_importance("gain")
    total = float(gain.sum()) or 1.0
    return dict(zip(loaded.description.signature.names, (gain / total).tolist(), strict=True))


def _tell(described: Description) -> dict[str, str]:
    return {
        "reward": f"{described.reward} ({described.labels})",
        "trained": described.trained,
        "learnt from": described.window[0],
        "until": described.window[1],
        "data": described.data_digest[:12],
        "features": str(len(described.signature.features)),
        "gates": _count(described.gates),
        "run": described.run_id,
    }


def _count(gates: dict[str, Any]) -> str:
    failing = [name for name, verdict in gates.items() if verdict.get("holds") is False]
    if not gates:
        return "not judged"
    return f"fails: {', '.join(failing)}" if failing else "hold"
