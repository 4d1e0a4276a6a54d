"""What a training gives to a cluster: the join of all parts, and the fit. All else is done in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from training import parts
from training.cluster import fitting, joining
from training.cluster.waiting import wait_for, workers
from training.preparation import extras

if TYPE_CHECKING:
    from distributed import Client

    from features.home import Home
    from models.signature import Signature
    from training.cluster.joining import Held
    from training.fitting import Fitted
    from training.judgement import Champion
    from training.options import Options, Stages
    from training.parts import Part
    from training.preparation import Labelled


SPANS, FEWEST = 2, 100
"""Spans a worker, at least, and the fewest rows of one."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Joined rows: those to learn from lie on the workers, the test's here."""

    signature: Signature
    share: float
    train: Held
    validation: Held
    test: Part


def gather(
    client: Client, home: Home, options: Options, labelled: Labelled, stages: Stages, champion: Champion | None
) -> Spread:
    """As `preparation.gather`. The historical store must be current and opened before."""
    chosen = labelled.parts
    signature = parts.describe(home, labelled.queries)
    share = parts.share_of_negatives(chosen["train"].rewarded, options.fit.negatives)
    keep = parts.thin(chosen["train"].rewarded, share, options.seed)
    rival = None
    if champion is not None and champion.bundle is not None:
        rival = (champion.bundle.description.name, champion.bundle.description.version)
    # Some spans for each worker, so that all have rows to grow trees on.
    even = min(len(chosen[name].owner) for name in ("train", "validation")) // (SPANS * len(workers(client)))
    rows = min(max(even, FEWEST), joining.ROWS)
    extra = extras(labelled.queries)
    with stages.stage("features") as advance:
        held = {
            "train": joining.join(client, home, chosen["train"], signature, keep, rows=rows),
            "validation": joining.join(client, home, chosen["validation"], signature, rows=rows),
            "test": joining.join(client, home, chosen["test"], signature, None, extra, rival, rows),
        }
        futures = [span.part for part in held.values() for span in part.spans]
        wait_for(client, futures, lambda done: advance(done, len(futures)))
        test = joining.bring(client, held["test"])
    return Spread(signature=signature, share=share, train=held["train"], validation=held["validation"], test=test)


def fit(client: Client, spread: Spread, options: Options) -> Fitted:
    return fitting.fit(client, spread.train, spread.validation, spread.signature, options.fit, spread.share)


def rewarded(client: Client, spread: Spread) -> Part:
    """The training rows that were rewarded, in this process."""
    return fitting.rewarded(client, spread.train)
