"""Features computed from closed ones: shares of all, trends, buy-again, same category. What trees are slow to learn
alone; they need no state, so that they may be added and changed without a replay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from features.aggregates.aging import DAY, HOUR

if TYPE_CHECKING:
    from features.aggregates.aging import Floats

BUY_AGAIN_STRENGTH = 5.0
"""Orders' worth of popularity in the smoothed buy-again share."""

DERIVED = (
    "candidate__order_completed__share_7d",
    "candidate__product_viewed__share_7d",
    "candidate__order_completed__trend",
    "candidate__product_viewed__trend_1h_7d",
    "candidate__promotion__trend_1d_30d",
    "pair__order_completed__buy_again",
    "pair__order_completed__own_share",
    "pair__product_viewed__same_category",
)
"""Names of what is derived."""

_BOUGHT = "customer__order_completed__history_512"
_ORDERS = "candidate__order_completed__decayed_7d"
_VIEWS = "candidate__product_viewed__decayed_7d"
_USUAL = HOUR / (7 * DAY)
"""A candidate that is viewed evenly has this share of its count of 7 days in that of an hour."""
OF_ALL = (_ORDERS, _VIEWS)
"""What `derive_candidates` takes of the row that counts everything."""


def derive_candidates(closed: dict[str, Floats], totals: dict[str, Floats]) -> dict[str, Floats]:
    """What depends on candidates alone, of `closed` (rows,) and the closed row that counts everything.

    `totals` are the candidate features OF_ALL of declared.TOTAL, spread to the rows.
    """
    return {
        **share(closed, totals),
        "candidate__order_completed__trend": np.log(
            (closed[_ORDERS] + 1.0) / (closed["candidate__order_completed__decayed_60d"] + 1.0)
        ),
        "candidate__product_viewed__trend_1h_7d": _trend(
            closed["candidate__product_viewed__decayed_1h"], closed[_VIEWS] * _USUAL
        ),
        # Both rates are smoothed by the same prior: without clicks and views their ratio is 1.
        "candidate__promotion__trend_1d_30d": np.log(
            closed["candidate__promotion__rate_1d"] / closed["candidate__promotion__rate_30d"]
        ),
    }


def derive_pairs(closed: dict[str, Floats], category: Floats) -> dict[str, Floats]:
    """What depends on who asks, given all closed features (rows,) and each row's category digest."""
    of_orders = closed["candidate__order_completed__share_7d"]
    total = closed[f"{_BOUGHT}_total"]
    smoothed = (closed[f"{_BOUGHT}_count"] + BUY_AGAIN_STRENGTH * of_orders) / (total + BUY_AGAIN_STRENGTH)
    last = closed["customer__product_viewed_category__last"]
    return {
        "pair__order_completed__buy_again": smoothed,
        "pair__order_completed__own_share": closed[f"{_BOUGHT}_count"] / (total + 1.0),
        "pair__product_viewed__same_category": np.where(last > 0, (last == category).astype(float), np.nan),
    }


def share(closed: dict[str, Floats], totals: dict[str, Floats]) -> dict[str, Floats]:
    """The derived features that need candidates only."""
    return {
        "candidate__order_completed__share_7d": _share(closed, totals, _ORDERS),
        "candidate__product_viewed__share_7d": _share(closed, totals, _VIEWS),
    }


def _share(closed: dict[str, Floats], totals: dict[str, Floats], name: str) -> Floats:
    total: Floats = totals[name]
    return np.divide(closed[name], total, out=np.zeros_like(closed[name]), where=total > 0)


def _trend(now: Floats, usual: Floats) -> Floats:
    """The logarithm of what there is over what there usually is, an event added to both: 0 for as always."""
    trend: Floats = np.log((now + 1.0) / (usual + 1.0))
    return trend
