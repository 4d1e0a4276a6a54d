"""`kairos train` from the archive to the alias, in order: archive, history, labels, join, fit, evaluation, registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from features import history
from features.store import open_store
from models.bundle import CHAMPION, DEFAULT_NAME, calibrate
from training import baselines, bootstrap, comparison, fit, freshness, logged, tracking
from training.baselines import Scored
from training.dataset import Source
from training.labels import CLICK, ORDERED, VIEWED, TrainingError
from training.split import Dates, split

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from features.settings import Settings
    from training.bootstrap import Rewards
    from training.labels import Flags, Floats, Queries
    from training.split import Window

ENOUGH_EXPOSURES, ENOUGH_CLICKS = 1000, 100
"""From here on `auto` learns from what was shown instead of from orders."""
OFFLINE = "redis://127.0.0.1:6379"
"""Feast wants an address for its online store; a point-in-time join never uses it."""


class Advance(Protocol):
    """Tells a stage's progress: done of all."""

    def __call__(self, done: int, total: int) -> None: ...


class Stages(Protocol):
    """Where progress is shown."""

    def stage(self, title: str) -> AbstractContextManager[Advance]: ...

    def say(self, text: str) -> None: ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    labels: str = "auto"
    reward: str | None = None
    name: str = DEFAULT_NAME
    alias: str = CHAMPION
    dates: Dates = Dates()
    queries: bootstrap.Options = bootstrap.Options()
    fit: fit.Options = fit.Options()
    seed: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say at the end."""

    registered: tracking.Registered
    comparison: comparison.Comparison
    window: Window
    tracking_uri: str
    seconds: float
    notes: list[str]


def train(settings: Settings, options: Options, stages: Stages) -> Report:
    """Raises TrainingError when this archive gives no model; the alias is where it was then."""
    began = time.monotonic()
    with stages.stage("archive") as advance:
        note = freshness.flush(settings)
        advance(1, 1)
    stages.say(note)
    home = settings.home
    kind, reward = choose(options, bootstrap.count(home))
    if not history.is_current(home):
        with stages.stage("history") as advance:
            history.rebuild(home, advance)
    with stages.stage("labels") as advance:
        queries, rewards = _label(settings, options, kind, reward)
        parts = split(queries, options.dates)
        advance(1, 1)
    say_labels(stages, queries)
    source = Source(home, open_store(home, settings.redis_url or OFFLINE))
    signature = fit.describe(home, queries)
    chosen = {name: queries.select(getattr(parts, name)) for name in ("train", "validation", "test")}
    share = fit.share_of_negatives(chosen["train"].rewarded, options.fit)
    keep = fit.thin(chosen["train"].rewarded, share, options.seed)
    with stages.stage("features") as advance:
        gathered = _gather(source, chosen, signature, keep, baselines.needs(kind, reward), advance)
    with stages.stage("fit") as advance:
        fitted = fit.fit(
            gathered["train"],
            gathered["validation"],
            signature,
            options.fit,
            share,
            lambda trees: advance(trees, options.fit.trees),
        )
    with stages.stage("evaluate") as advance:
        test = chosen["test"]
        places = [signature.names.index(name) for name in fitted.signature.names]
        matrix = gathered["test"].matrix[:, places]
        score = fit.score(fitted.booster, matrix)
        model = Scored(name="model", score=score, probability=calibrate(fitted.calibration, score))
        base_rate = float(chosen["train"].rewarded.mean())
        others = baselines.compare(test, gathered["test"].extra, rewards, base_rate, options.seed)
        known = _known(test, gathered["test"].extra[baselines.KNOWN])
        judged = comparison.judge(test, known, model, others, options.seed)
        advance(1, 1)
    with stages.stage("register") as advance:
        outcome = tracking.Outcome(
            queries=queries,
            window=parts.window,
            fitted=fitted,
            comparison=judged,
            score=score,
            rewarded=test.rewarded,
            example=matrix,
            data_digest=history.digest(home),
            parameters=_parameters(options),
        )
        registered = tracking.record(settings, options.name, options.alias, outcome)
        advance(1, 1)
    return Report(
        registered=registered,
        comparison=judged,
        window=parts.window,
        tracking_uri=settings.tracking_uri,
        seconds=time.monotonic() - began,
        notes=[],
    )


def choose(options: Options, counts: dict[str, int]) -> tuple[str, str]:
    """(kind of labels, reward) to train on. Raises TrainingError when there is nothing of what was asked for."""
    exposures, clicks = counts.get(logged.EXPOSURE_EVENT, 0), counts.get(logged.CLICK_EVENT, 0)
    enough = exposures >= ENOUGH_EXPOSURES and clicks >= ENOUGH_CLICKS
    kind = options.labels
    if kind == "auto":
        kind = "logged" if options.reward == CLICK or (enough and options.reward is None) else "bootstrap"
    if kind == "logged":
        if options.reward not in (None, CLICK):
            raise TrainingError(f"logged labels are clicks: --reward {options.reward!r} needs --labels bootstrap")
        return kind, CLICK
    reward = options.reward or (ORDERED if counts.get(ORDERED) or not counts.get(VIEWED) else VIEWED)
    if reward == CLICK:
        raise TrainingError("a click needs something that was shown: --reward click needs --labels logged")
    if not counts.get(reward):
        seen = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "none at all"
        raise TrainingError(f"no {reward!r} events in the archive (there are: {seen}): import some, or track them")
    return kind, reward


def _label(settings: Settings, options: Options, kind: str, reward: str) -> tuple[Queries, Rewards | None]:
    if kind == "logged":
        return logged.label(settings.home), None
    rewards = bootstrap.read_rewards(settings.home, reward)
    return bootstrap.label(settings.home, reward, rewards, options.queries), rewards


def say_labels(stages: Stages, queries: Queries) -> None:
    share = float(queries.rewarded.mean())
    if queries.kind == "bootstrap":
        stages.say(
            f"labels: bootstrap, {len(queries):,} {queries.reward!r} events with {len(queries.owner):,} candidates, "
            f"{share:.2%} of them in it. Nothing was shown to get these labels: propensity is P(in the next one)."
        )
    else:
        stages.say(
            f"labels: logged, {len(queries.owner):,} exposures in {len(queries):,} slots, {share:.2%} of them clicked"
        )


def _gather(
    source: Source,
    chosen: dict[str, Queries],
    signature: Any,
    keep: Flags,
    extra: tuple[str, ...],
    advance: Advance,
) -> dict[str, fit.Part]:
    total = sum(len(queries.owner) for queries in chosen.values())
    done = 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        advance(done, total)

    return {
        name: fit.gather(
            source, queries, signature, keep if name == "train" else None, extra if name == "test" else (), count
        )
        for name, queries in chosen.items()
    }


def _known(queries: Queries, recency: Floats) -> Flags:
    """Which queries are of customers with a past: (d,)."""
    known: Flags = ~np.isnan(recency[queries.row_starts[:-1]])
    return known


def _parameters(options: Options) -> dict[str, Any]:
    return {
        "seed": options.seed,
        "candidates": options.queries.candidates,
        "candidate_window_days": options.queries.window_days,
        "queries_per_day": options.queries.queries_per_day or "all",
    }
