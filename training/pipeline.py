"""`kairos train` from the archive to the alias, in order: archive, labels, history, join, fit, evaluation, registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import numpy as np

from features import history
from features.store import open_store
from models.bundle import CHAMPION, DEFAULT_NAME, calibrate
from training import baselines, bootstrap, comparison, fit, freshness, logged, parts, tracking
from training.baselines import Scored
from training.dataset import Source
from training.labels import CLICK, ORDERED, VIEWED, TrainingError
from training.split import Dates, split

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from features.settings import Settings
    from models.signature import Signature
    from training.bootstrap import Rewards
    from training.labels import Flags, Floats, Kind, Queries
    from training.split import Split

ENOUGH_EXPOSURES, ENOUGH_CLICKS = 1000, 100
"""From here on `auto` learns from what was shown instead of from orders."""
OFFLINE = "redis://127.0.0.1:6379"
"""Feast wants an address for its online store; a point-in-time join never uses it."""
PARTS = ("train", "validation", "test")


class Advance(Protocol):
    """Tells a stage's progress: done of all."""

    def __call__(self, done: int, total: int) -> None: ...


class Stages(Protocol):
    """Where progress is shown."""

    def stage(self, title: str) -> AbstractContextManager[Advance]: ...

    def say(self, text: str) -> None: ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    labels: Kind | Literal["auto"] = "auto"
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
    tracking_uri: str
    seconds: float


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """All queries, and those of each part of the split."""

    queries: Queries
    rewards: Rewards | None
    split: Split
    parts: dict[str, Queries]


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    signature: Signature
    share: float
    """Of the unrewarded training rows."""
    parts: dict[str, parts.Part]


def train(settings: Settings, options: Options, stages: Stages) -> Report:
    """Raises TrainingError when this archive gives no model; the alias is where it was then."""
    began = time.monotonic()
    with stages.stage("archive"):
        note = freshness.flush(settings)
    stages.say(note)
    labelled = _label(settings, options, stages)
    if not history.is_current(settings.home):  # after the labels, so that it holds all that they refer to
        with stages.stage("history") as advance:
            history.rebuild(settings.home, advance)
    gathered = _gather(settings, options, labelled, stages)
    with stages.stage("fit") as advance:
        fitted = fit.fit(
            gathered.parts["train"],
            gathered.parts["validation"],
            gathered.signature,
            options.fit,
            gathered.share,
            lambda trees: advance(trees, options.fit.trees),
        )
    with stages.stage("evaluate"):
        outcome = _evaluate(settings, options, labelled, gathered, fitted)
    with stages.stage("register"):
        registered = tracking.record(settings, options.name, options.alias, outcome)
    return Report(
        registered=registered,
        comparison=outcome.comparison,
        tracking_uri=settings.tracking_uri,
        seconds=time.monotonic() - began,
    )


def choose(options: Options, counts: Mapping[str, int]) -> tuple[Kind, str]:
    """(kind of labels, reward) to train on. Raises TrainingError when there is nothing of what was asked for."""
    exposures, clicks = counts.get(logged.EXPOSURE_EVENT, 0), counts.get(logged.CLICK_EVENT, 0)
    enough = exposures >= ENOUGH_EXPOSURES and clicks >= ENOUGH_CLICKS
    kind = options.labels
    if kind == "auto":
        kind = "logged" if options.reward == CLICK or (enough and options.reward is None) else "bootstrap"
    if kind == "logged":
        if options.reward not in (None, CLICK):
            raise TrainingError(f"logged labels are clicks: --reward {options.reward!r} needs --labels bootstrap")
        return "logged", CLICK
    reward = options.reward or (ORDERED if counts.get(ORDERED) or not counts.get(VIEWED) else VIEWED)
    if reward == CLICK:
        raise TrainingError("a click needs something that was shown: --reward click needs --labels logged")
    if not counts.get(reward):
        seen = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "no events at all"
        raise TrainingError(f"no {reward!r} events in the archive (there are: {seen}): import some, or track them")
    return "bootstrap", reward


def _label(settings: Settings, options: Options, stages: Stages) -> Labelled:
    home = settings.home
    with stages.stage("labels"):
        kind, reward = choose(options, bootstrap.count(home))
        rewards = None
        if kind == "logged":
            queries = logged.label(home)
        else:
            rewards = bootstrap.read_rewards(home, reward)
            queries = bootstrap.label(home, reward, rewards, options.queries)
        divided = split(queries, options.dates)
    stages.say(_describe(queries))
    chosen = {name: queries.select(getattr(divided, name)) for name in PARTS}
    return Labelled(queries=queries, rewards=rewards, split=divided, parts=chosen)


def _describe(queries: Queries) -> str:
    share, rows = float(queries.rewarded.mean()), len(queries.owner)
    if queries.kind == "logged":
        return f"labels: logged, {rows:,} exposures in {len(queries):,} slots, {share:.2%} of them clicked"
    return (
        f"labels: bootstrap, {len(queries):,} {queries.reward!r} events and {rows:,} candidates, {share:.2%} of them "
        "in it; nothing was shown yet, so propensity is P(in the next one)"
    )


def _gather(settings: Settings, options: Options, labelled: Labelled, stages: Stages) -> Gathered:
    home, queries, chosen = settings.home, labelled.queries, labelled.parts
    source = Source(home, open_store(home, OFFLINE))
    signature = parts.describe(home, queries)
    share = parts.share_of_negatives(chosen["train"].rewarded, options.fit.negatives)
    keep = parts.thin(chosen["train"].rewarded, share, options.seed)
    extra = baselines.needs(queries.kind, queries.reward)
    total = sum(len(part.owner) for part in chosen.values())
    done = 0
    gathered = {}
    with stages.stage("features") as advance:

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            advance(done, total)

        for name, part in chosen.items():
            kept = keep if name == "train" else None
            gathered[name] = parts.gather(source, part, signature, kept, extra if name == "test" else (), count)
    return Gathered(signature=signature, share=share, parts=gathered)


def _evaluate(
    settings: Settings, options: Options, labelled: Labelled, gathered: Gathered, fitted: fit.Fitted
) -> tracking.Outcome:
    queries, part = labelled.parts["test"], gathered.parts["test"]
    places = [gathered.signature.names.index(name) for name in fitted.signature.names]
    matrix = part.matrix[:, places]
    score = fit.score(fitted.booster, matrix)
    model = Scored(name="model", score=score, probability=calibrate(fitted.calibration, score))
    base_rate = float(labelled.parts["train"].rewarded.mean())
    others = baselines.compare(queries, part.extra, labelled.rewards, base_rate, options.seed)
    known = _known(queries, part.extra[baselines.KNOWN])
    return tracking.Outcome(
        queries=queries,
        window=labelled.split.window,
        fitted=fitted,
        comparison=comparison.judge(queries, known, model, others, options.seed),
        score=score,
        example=matrix[: tracking.EXAMPLE_ROWS],
        data_digest=(settings.home.history / "digest").read_text(),
        parameters=_parameters(options, labelled),
    )


def _known(queries: Queries, recency: Floats) -> Flags:
    """Which queries are of customers with a past: (d,)."""
    known: Flags = ~np.isnan(recency[queries.row_starts[:-1]])
    return known


def _parameters(options: Options, labelled: Labelled) -> dict[str, Any]:
    parameters: dict[str, Any] = {f"{name}_queries": len(part) for name, part in labelled.parts.items()}
    if labelled.queries.kind == "bootstrap":
        parameters["candidates"] = options.queries.candidates
        parameters["candidate_window_days"] = options.queries.window_days
        parameters["queries_per_day"] = options.queries.queries_per_day or "all"
    return parameters
