"""`kairos train` from the archive to the alias, in order: archive, labels, history, join, fit, evaluation, registry."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from features import shards, tenancy
from features.store import open_store
from models.bundle import CHAMPION
from training import appraisal, faults, freshness, gates, judgement, learning, preparation, tracking
from training.options import Options

if TYPE_CHECKING:
    from distributed import Client
    from feast import FeatureStore

    from features.settings import Settings
    from models.bundle import Description
    from training.appraisal import Appraised
    from training.comparison import Comparison
    from training.gates import Verdict
    from training.judgement import Champion
    from training.learning import Learnt
    from training.options import Stages
    from training.preparation import Labelled

__all__ = ["Options", "Report", "decide", "train"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say at the end."""

    registered: tracking.Registered
    comparison: Comparison
    verdicts: list[Verdict]
    appraised: Appraised | None = None
    is_refused: bool
    """The alias was to move, and a gate does not hold."""
    tracking_uri: str
    seconds: float


def train(settings: Settings, options: Options, stages: Stages) -> Report:
    """Raises TrainingError when this archive gives no model; the alias is where it was then."""
    began = time.monotonic()
    faults.require_reachable(settings)
    champion = judgement.find_champion(settings.home.bundles, options.name, options.alias)
    with contextlib.ExitStack() as held:
        with learning.gather_workers(options, settings.home, stages) as client:
            with faults.read_whole(settings.home):
                labelled = _bring_up(settings, options, stages, client, held)
            store = open_store(settings.home, preparation.OFFLINE)
            learnt = learning.learn(settings, options, labelled, stages, store, champion, client)
        with stages.stage("evaluate"):
            description, outcome = _judge(settings, options, labelled, learnt, store, champion)
    is_moved = decide(options, champion, outcome.judged.verdicts)
    with stages.stage("register"):
        registered = tracking.record(settings, description, outcome, options.alias, is_moved)
    return Report(
        registered=registered,
        comparison=outcome.judged.comparison,
        verdicts=outcome.judged.verdicts,
        appraised=outcome.judged.appraised,
        is_refused=not is_moved and _wants(options, champion),
        tracking_uri=settings.tracking_uri,
        seconds=time.monotonic() - began,
    )


def _bring_up(
    settings: Settings, options: Options, stages: Stages, client: Client | None, held: contextlib.ExitStack
) -> Labelled:
    """The archive with all that was acknowledged, its labels, and a history with all that they refer to, which is
    `held` from here on."""
    with stages.stage("archive"):
        note = freshness.flush(settings)
    stages.say(note)
    labelled = preparation.label(settings, options, stages)
    _give_back()

    def renew() -> None:
        with stages.stage("history") as advance, learning.spread(settings.home, client) as pool:
            shards.rebuild(settings.home, pool, advance)
        _give_back()

    held.enter_context(tenancy.hold(settings.home, renew, stages.say))
    return labelled


def _give_back() -> None:
    """The memory that Arrow keeps for what it might read next: what comes now are matrices."""
    pa.default_memory_pool().release_unused()


def decide(options: Options, champion: Champion | None, verdicts: list[Verdict]) -> bool:
    """Whether the alias moves: if it should and every gate holds; one that serves nobody by itself moves anyway."""
    if _wants(options, champion):
        return gates.holds(verdicts)
    return options.alias != CHAMPION


def _wants(options: Options, champion: Champion | None) -> bool:
    """Asked to promote; or there is nothing that serves yet, or nothing that could."""
    return options.promote or (options.alias == CHAMPION and (champion is None or champion.bundle is None))


def _judge(
    settings: Settings,
    options: Options,
    labelled: Labelled,
    learnt: Learnt,
    store: FeatureStore,
    champion: Champion | None,
) -> tuple[Description, tracking.Outcome]:
    queries, window, fitted = labelled.parts["test"], labelled.split.window, learnt.fitted
    data_digest = (settings.home.history / "digest").read_text()
    description = tracking.describe(options.name, queries, window, fitted, data_digest)
    trial = judgement.Trial(
        queries=queries,
        part=learnt.test,
        names=learnt.signature.names,
        rewards=labelled.rewards,
        base_rate=float(labelled.parts["train"].rewarded.mean()),
        learnt=appraisal.learn(labelled.parts["train"], learnt.train, learnt.signature.names),
        window=window,
        champion=champion,
        seed=options.seed,
    )
    judged = judgement.judge(settings.home, store, trial, fitted, description)
    return tracking.complete(description, judged), tracking.Outcome(
        queries=queries,
        window=window,
        fitted=fitted,
        judged=judged,
        data_digest=data_digest,
        parameters=preparation.describe(options, labelled),
        seed=options.seed,
    )
