"""From the archive to matrices: labels, their split, and the features of each part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from training import baselines, bootstrap, judgement, logged, parts
from training.dataset import Source
from training.labels import CLICK, CONVERSION, ORDERED, REVENUE, VIEWED, TrainingError, tell_hole
from training.rewards import CLICK_EVENT, EXPOSURE_EVENT
from training.split import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feast import FeatureStore

    from features.settings import Settings
    from models.signature import Signature
    from training.attribution import Target
    from training.bootstrap import Rewards
    from training.judgement import Champion
    from training.labels import Kind, Queries
    from training.options import Options, Stages
    from training.split import Split

ENOUGH_EXPOSURES, ENOUGH_CLICKS = 1000, 100
"""From here on `auto` learns from what was shown instead of from orders."""
OFFLINE = "redis://127.0.0.1:6379"
"""Feast wants an address for its online store; a point-in-time join never uses it."""
SHOWN = (CLICK, CONVERSION)
"""Rewards that exposures earn."""
PARTS = ("train", "validation", "test")


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


def choose(options: Options, counts: Mapping[str, int]) -> tuple[Kind, str]:
    """(kind of labels, reward) to train on. Raises TrainingError when there is nothing of what was asked for."""
    exposures, clicks = counts.get(EXPOSURE_EVENT, 0), counts.get(CLICK_EVENT, 0)
    enough = exposures >= ENOUGH_EXPOSURES and clicks >= ENOUGH_CLICKS
    kind = options.labels
    if kind == "auto":
        kind = "logged" if options.reward in SHOWN or (enough and options.reward is None) else "bootstrap"
    if kind == "logged":
        if options.reward not in (None, *SHOWN):
            raise TrainingError(f"logged labels are of exposures: --reward {options.reward!r} needs --labels bootstrap")
        return "logged", options.reward or CLICK
    reward = options.reward or (ORDERED if counts.get(ORDERED) or not counts.get(VIEWED) else VIEWED)
    if reward in SHOWN:
        raise TrainingError(f"a {reward} needs something that was shown: --reward {reward} needs --labels logged")
    if reward == VIEWED and options.value == REVENUE:
        raise TrainingError(f"views bring no revenue: --value {REVENUE} needs orders, or something that was shown")
    if not counts.get(reward):
        seen = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "no events at all"
        raise TrainingError(f"no {reward!r} events in the archive (there are: {seen}): import some, or track them")
    return "bootstrap", reward


def label(settings: Settings, options: Options, stages: Stages) -> Labelled:
    home = settings.home
    with stages.stage("labels"):
        kind, reward = choose(options, bootstrap.count(home))
        rewards = None
        if kind == "logged":
            target: Target = CONVERSION if reward == CONVERSION else CLICK
            queries = logged.label(home, target, options.states == "logged", options.value == REVENUE)
        else:
            rewards = bootstrap.read_rewards(home, reward)
            queries = bootstrap.label(home, reward, rewards, options.queries, options.value == REVENUE)
        divided = split(queries, options.dates)
    stages.say(_describe(queries))
    if hole := tell_hole(queries.now):
        stages.say(hole)
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


def gather(
    settings: Settings,
    options: Options,
    labelled: Labelled,
    stages: Stages,
    store: FeatureStore,
    champion: Champion | None,
) -> Gathered:
    home, queries, chosen = settings.home, labelled.queries, labelled.parts
    source = Source(home, store)
    signature = parts.describe(home, queries)
    share = parts.share_of_negatives(chosen["train"].rewarded, options.fit.negatives)
    keep = parts.thin(chosen["train"].rewarded, share, options.seed)
    total = sum(len(part.owner) for part in chosen.values())
    done = 0
    gathered = {}
    with stages.stage("features") as advance:

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            advance(done, total)

        for name, part in chosen.items():
            if name == "test":
                rival = None if champion is None else champion.bundle
                gathered[name] = parts.gather(source, part, signature, None, extras(queries), count, rival)
            else:
                kept = keep if name == "train" else None
                gathered[name] = parts.gather(source, part, signature, kept, (), count)
    return Gathered(signature=signature, share=share, parts=gathered)


def extras(queries: Queries) -> tuple[str, ...]:
    """Features that the test's rows are judged by, beside those of the model."""
    return (*baselines.needs(queries.kind, queries.reward), judgement.WORTH)


def describe(options: Options, labelled: Labelled) -> dict[str, Any]:
    parameters: dict[str, Any] = {f"{name}_queries": len(part) for name, part in labelled.parts.items()}
    if labelled.queries.kind == "bootstrap":
        parameters["candidates"] = options.queries.candidates
        parameters["candidate_window_days"] = options.queries.window_days
        parameters["queries_per_day"] = options.queries.queries_per_day or "all"
    return parameters
