"""From labels to a fitted model, in this process or on a cluster: the join of each part of the split, and the fit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from features import tenancy
from training import preparation, search
from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from distributed import Client
    from feast import FeatureStore

    from features.home import Home
    from features.settings import Settings
    from models.signature import Signature
    from training.fitting import Fitted
    from training.judgement import Champion
    from training.options import Options, Stages
    from training.parts import Part
    from training.preparation import Labelled


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    fitted: Fitted
    train: Part
    """The rows that it was learnt from, at least those that were rewarded."""
    test: Part
    """The rows that it is judged by."""
    signature: Signature
    """Of their columns, which may be more than the model has."""


@contextlib.contextmanager
def gather_workers(options: Options, home: Home, stages: Stages) -> Iterator[Client | None]:
    """The cluster that was asked for; None: this process does all. Raises TrainingError for one that cannot train."""
    if options.cluster is None:
        yield None
        return
    if options.search is not None:
        raise TrainingError("a search grows trees again and again on one machine: leave out --search or --cluster")
    from training.cluster.connection import connect
    from training.cluster.waiting import workers

    with contextlib.ExitStack() as stack:
        with stages.stage("cluster"):
            client = stack.enter_context(connect(options.cluster, home))
        stages.say(f"cluster: {len(workers(client))} workers at {options.cluster}")
        yield client


@contextlib.contextmanager
def spread(home: Home, client: Client | None) -> Iterator[Executor]:
    """Who rebuilds the history: the cluster, or the processors of this machine where that pays."""
    if client is not None:
        from training.cluster.spreading import Workers

        yield Workers(client)
        return
    with tenancy.spread(home) as pool:
        yield pool


def learn(
    settings: Settings,
    options: Options,
    labelled: Labelled,
    stages: Stages,
    store: FeatureStore,
    champion: Champion | None,
    client: Client | None,
) -> Learnt:
    """Raises TrainingError when there is nothing to tell apart, or when the cluster cannot finish."""
    if client is not None:
        from training.cluster import working

        spread = working.gather(client, settings.home, options, labelled, stages, champion)
        with stages.stage("fit"):
            fitted = working.fit(client, spread, options)
            train = working.rewarded(client, spread)
        return Learnt(fitted=fitted, train=train, test=spread.test, signature=spread.signature)
    gathered = preparation.gather(settings, options, labelled, stages, store, champion)
    fitted = search.learn(gathered.parts, gathered.signature, gathered.share, options.fit, options.search, stages)
    return Learnt(
        fitted=fitted, train=gathered.parts["train"], test=gathered.parts["test"], signature=gathered.signature
    )
