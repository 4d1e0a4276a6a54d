"""Interleaved rankings: which of two rankers people prefer, from views in which both stood in one slate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """Of views: those in which the first ranker got more credit, the second, or both the same."""

    first: int
    second: int
    tied: int
    share: float
    """Of the views that preferred one, those that preferred the first; NaN without any."""
    low: float
    high: float
    """Its interval (Clopper and Pearson 1934), or the one that holds at all times."""
    p: float
    """Of the sign test, or of the one that holds at all times: both are as good."""


def draft(first: list[str], second: list[str], length: int, coins: NDArray[np.bool_]) -> tuple[list[str], list[int]]:
    """Team draft (Radlinski, Kurup and Joachims 2008, algorithm 2) -> (slate, team of each: 0 or 1).

    In each round a coin says who picks first; each picks their best candidate that is not there yet. `coins`: one a
    round, True for the first ranker.
    """
    rankings = (first, second)
    at = [0, 0]
    slate: list[str] = []
    teams: list[int] = []
    there: set[str] = set()
    for coin in coins:
        for team in (0, 1) if coin else (1, 0):
            ranking = rankings[team]
            while at[team] < len(ranking) and ranking[at[team]] in there:
                at[team] += 1
            if len(slate) == length:
                return slate, teams
            if at[team] < len(ranking):
                slate.append(ranking[at[team]])
                teams.append(team)
                there.add(ranking[at[team]])
    return slate, teams


WEIGHT = 10.0
"""Of the mixture: shares between about a third and two thirds are those that it finds soonest."""


def follow(credit: NDArray[np.int64], confidence: float = 0.95) -> Preference:
    """As `prefer`, but to be looked at as often as one likes: the interval has the shares that `doubt` does not rule
    out, and p is that of the even one.
    """
    from scipy import optimize

    once = prefer(credit, confidence)
    first, second = once.first, once.second
    if first + second == 0:
        return once

    def left(share: float) -> float:
        return float(doubt(first, second, share) - np.log(1 - confidence))

    low = 0.0 if not first else optimize.brentq(left, 1e-12, once.share)
    high = 1.0 if not second else optimize.brentq(left, once.share, 1 - 1e-12)
    p = min(float(np.exp(doubt(first, second, 0.5))), 1.0)
    return msgspec.structs.replace(once, low=float(low), high=float(high), p=p)


def doubt(first: ArrayLike, second: ArrayLike, share: float) -> NDArray[np.float64]:
    """Logarithm of p, at any time, that units prefer the first with that share: the likelihood over its mixture by a
    beta distribution around even (Robbins 1970, Statistical Methods Related to the Law of the Iterated Logarithm,
    section 3). It falls below log(alpha) at any time with a probability of at most alpha (Ville 1939).
    """
    from scipy import special

    first, second = np.asarray(first, float), np.asarray(second, float)
    mixed = special.betaln(WEIGHT + first, WEIGHT + second) - special.betaln(WEIGHT, WEIGHT)
    found: NDArray[np.float64] = special.xlogy(first, share) + special.xlog1py(second, -share) - mixed
    return found


def prefer(credit: NDArray[np.int64], confidence: float = 0.95) -> Preference:
    """From clicks (units, 2) on what each ranker brought in; the unit is what was randomised and is independent of
    others: a customer rather than a view.
    """
    from scipy import stats

    apart = np.sign(credit[:, 0] - credit[:, 1])
    first, second, tied = (int((apart == side).sum()) for side in (1, -1, 0))
    if first + second == 0:
        return Preference(first=0, second=0, tied=tied, share=np.nan, low=0.0, high=1.0, p=1.0)
    test = stats.binomtest(first, first + second)
    interval = test.proportion_ci(confidence, method="exact")
    return Preference(
        first=first,
        second=second,
        tied=tied,
        share=first / (first + second),
        low=float(interval.low),
        high=float(interval.high),
        p=float(test.pvalue),
    )
