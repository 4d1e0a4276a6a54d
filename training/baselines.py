"""What a model has to beat: each a score for every row, and a probability where the formula gives one as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.derived import BUY_AGAIN_STRENGTH
from training.labels import ORDERED, VIEWED

if TYPE_CHECKING:
    from training.bootstrap import Rewards
    from training.labels import Flags, Floats, Ints, Queries

ORDER_SHARE, VIEW_SHARE = "candidate__order_completed__share_7d", "candidate__product_viewed__share_7d"
FOLLOWING = "successors__product_viewed__transition_30d_share"
CLICK_RATE = "candidate__promotion__rate_30d"
ORDERS, BUY_AGAIN = "candidate__order_completed__decayed_60d", "pair__order_completed__buy_again"
KNOWN = "customer__any__recency"

SMOOTHED = "buy again, smoothed"
POPULAR_7_DAYS = "popularity, half-life 7 days"
OF_BEHAVIOUR = {
    "popularity, half-life 60 days": ORDERS,
    POPULAR_7_DAYS: ORDER_SHARE,
    "popularity by views, half-life 7 days": VIEW_SHARE,
    SMOOTHED: BUY_AGAIN,
}
"""Beside logged labels: scores without a probability, since they are of orders and views and not of clicks."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A method's answer for every row."""

    name: str
    score: Floats
    probability: Floats | None = None
    value: Floats | None = None
    """What a reward of each row is expected to bring; None: as the catalog has it."""

    def only(self, rows: Flags) -> Scored:
        """The answer for some of the rows."""
        return Scored(
            name=self.name,
            score=self.score[rows],
            probability=None if self.probability is None else self.probability[rows],
            value=None if self.value is None else self.value[rows],
        )


def needs(kind: str, reward: str) -> tuple[str, ...]:
    """The features that `compare` asks for."""
    if kind == "logged":
        return KNOWN, CLICK_RATE, *OF_BEHAVIOUR.values()
    return (KNOWN, VIEW_SHARE, FOLLOWING) if reward == VIEWED else (KNOWN, ORDER_SHARE)


def compare(
    queries: Queries, extra: dict[str, Floats], rewards: Rewards | None, base_rate: float, seed: int
) -> list[Scored]:
    """The baselines of the queries' kind of labels; `base_rate` is that of the training rows."""
    rows = len(queries.owner)
    if queries.kind == "logged" or rewards is None:
        return [
            Scored(name="base rate", score=np.zeros(rows), probability=np.full(rows, base_rate)),
            Scored(name="candidate's click rate, smoothed", score=extra[CLICK_RATE], probability=extra[CLICK_RATE]),
            *(
                Scored(name=name, score=np.nan_to_num(extra[feature]))
                for name, feature in OF_BEHAVIOUR.items()
                if np.ptp(np.nan_to_num(extra[feature])) > 0.0  # else nobody ordered, or viewed, anything
            ),
        ]
    answers = [Scored(name="random", score=np.random.default_rng(seed).random(rows))]
    answers.append(Scored(name="popularity", score=queries.popularity, probability=queries.popularity))
    share = extra[VIEW_SHARE if queries.reward == VIEWED else ORDER_SHARE]
    answers.append(Scored(name=POPULAR_7_DAYS, score=share, probability=share))
    if queries.reward == VIEWED:
        following = extra[FOLLOWING]
        answers.append(Scored(name="co-visitation (what follows the last)", score=following, probability=following))
    if queries.reward == ORDERED:
        count, total = count_own(rewards, queries)
        # Popularity is a share, below 1: it decides between candidates bought equally often, and no more.
        answers.append(Scored(name="buy again", score=count + queries.popularity * 0.999))
        smoothed = (count + BUY_AGAIN_STRENGTH * share) / (total[queries.owner] + BUY_AGAIN_STRENGTH)
        answers.append(Scored(name=SMOOTHED, score=smoothed, probability=smoothed))
    return answers


def count_own(rewards: Rewards, queries: Queries) -> tuple[Ints, Ints]:
    """The customer's own earlier events with each row's candidate (r,), and altogether (d,): exact, without a bound."""
    customers = {text: at for at, text in enumerate(dict.fromkeys([*rewards.customers, *queries.customers]))}
    who = np.array([customers[text] for text in rewards.customers], np.int64)
    asking = np.array([customers[text] for text in queries.customers], np.int64)
    instants = np.unique(rewards.arrival)
    span = np.int64(len(instants) + 1)
    when = np.searchsorted(instants, rewards.arrival)
    until = np.searchsorted(instants, queries.now, side="right")
    events = np.repeat(np.arange(len(who)), np.diff(rewards.starts))
    width = np.int64(len(rewards.names))
    place = {name: at for at, name in enumerate(rewards.names)}
    ids = np.array([place.get(name, -1) for name in queries.candidates], np.int64)[queries.candidate]
    pair = np.sort((who[events] * width + rewards.items) * span + when[events])
    asked = (asking[queries.owner] * width + ids) * span
    count = np.searchsorted(pair, asked + until[queries.owner]) - np.searchsorted(pair, asked)
    own = np.sort(who * span + when)
    total = np.searchsorted(own, asking * span + until) - np.searchsorted(own, asking * span)
    return np.where(ids >= 0, count, 0), total
