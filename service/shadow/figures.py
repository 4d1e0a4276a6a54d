"""What running services say of challengers that score beside their champions, read from their metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from features.occupancy import read_run

if TYPE_CHECKING:
    from features.home import Home

PATIENCE = 5.0
DECISIONS, SECONDS = "kairos_shadow_decisions_total", "kairos_shadow_seconds"
DISTANCE, PROPENSITY = "kairos_shadow_distance", "kairos_shadow_propensity_total"
SURE = 1.96


class ShadowError(ValueError):
    """There is nothing to be read; the message says why."""


class Shadowed(msgspec.Struct, frozen=True, kw_only=True):
    """One challenger, over all placements that it scored since the service started."""

    challenger: str
    scored: int
    agreed: float
    """Share of placements in which both put the same candidate first."""
    low: float
    high: float
    distance: float
    """Mean size of the difference between their propensities."""
    propensity: float
    champion: float
    """Mean propensity of either one."""
    milliseconds: float
    """Mean time that the challenger took to score a placement."""
    dropped: int
    """That it had no time for."""
    failed: int


def ask(home: Home) -> list[Shadowed]:
    """Of the `kairos up` of the home. Raises ShadowError where none answers."""
    run = read_run(home)
    if run is None:
        raise ShadowError(f"no `kairos up` runs on {home.root}: running services score what their challenger would do")
    try:
        with urlopen(f"{run.api_url}/metrics", timeout=PATIENCE) as answer:  # noqa: S310  # the address is our own
            return read(answer.read().decode())
    except (URLError, OSError) as error:
        raise ShadowError(f"{run.api_url}/metrics does not answer: {error}") from error


def read(text: str) -> list[Shadowed]:
    """Of metrics as text, by challenger."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("kairos_shadow_") and "le" not in sample.labels:
                part = sample.labels.get("outcome") or sample.labels.get("of") or ""
                found.setdefault(sample.labels["challenger"], {})[f"{sample.name} {part}".strip()] = sample.value
    return [_tell(challenger, sums) for challenger, sums in sorted(found.items())]


def _tell(challenger: str, sums: dict[str, float]) -> Shadowed:
    outcomes = {name: sums.get(f"{DECISIONS} {name}", 0.0) for name in ("agreed", "differed", "dropped", "failed")}
    scored = outcomes["agreed"] + outcomes["differed"]
    low, high = enclose(outcomes["agreed"], scored)
    return Shadowed(
        challenger=challenger,
        scored=int(scored),
        agreed=outcomes["agreed"] / scored if scored else math.nan,
        low=low,
        high=high,
        distance=_mean(sums, f"{DISTANCE}_sum", f"{DISTANCE}_count"),
        propensity=sums.get(f"{PROPENSITY} challenger", 0.0) / scored if scored else math.nan,
        champion=sums.get(f"{PROPENSITY} champion", 0.0) / scored if scored else math.nan,
        milliseconds=1e3 * _mean(sums, f"{SECONDS}_sum", f"{SECONDS}_count"),
        dropped=int(outcomes["dropped"]),
        failed=int(outcomes["failed"]),
    )


def enclose(hits: float, of: float) -> tuple[float, float]:
    """Of a share, with 95 % (Wilson 1927, Probable inference, the law of succession, and statistical inference).

    >>> [round(each, 3) for each in enclose(8.0, 10.0)]
    [0.49, 0.943]
    """
    if not of:
        return math.nan, math.nan
    share, spread = hits / of, SURE**2 / of
    middle = (share + spread / 2) / (1 + spread)
    width = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return middle - width, middle + width


def _mean(sums: dict[str, float], total: str, count: str) -> float:
    return sums.get(total, 0.0) / sums[count] if sums.get(count) else math.nan
