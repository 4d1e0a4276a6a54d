"""The model from rows that lie on workers: trees by `lightgbm.dask`, all else as `training.fit` has it.

Early stopping looks at the validation rows of all workers together, when the trees have grown: the same rule and the
same best tree, for the price of trees that are thrown away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models import calibration
from models.signature import Signature
from training import positions, ranking, values
from training.cluster import growing, joining, scoring
from training.fitting import Fitted, constrain, describe
from training.labels import TrainingError
from training.parts import Part
from training.positions import Terms

if TYPE_CHECKING:
    from distributed import Client

    from training.cluster.joining import Held
    from training.fitting import Options
    from training.labels import Flags, Floats, Ints


def fit(client: Client, train: Held, validation: Held, signature: Signature, options: Options, share: float) -> Fitted:
    """As `training.fit.fit`. Raises TrainingError where that does, and when the cluster cannot finish."""
    for name, held in (("training", train), ("validation", validation)):
        if held.rewarded.all() or not held.rewarded.any():
            alike = "rewarded" if held.rewarded.any() else "unrewarded"
            raise TrainingError(f"all {len(held.rewarded)} {name} rows are {alike}: a model needs both kinds")
    varying = np.flatnonzero(scoring.varies(client, train))
    if not len(varying):
        raise TrainingError(f"no feature differs between the {len(train.rewarded)} training rows")
    constraints = constrain(signature, options)
    signature = Signature(tuple(signature.features[at] for at in varying.tolist()))
    parameters = describe(options, len(train.rewarded))
    if constraints:
        parameters["monotone_constraints"] = [constraints.get(name, 0) for name in signature.names]
    weight = np.where(train.rewarded, 1.0, 1.0 / share)
    base = positions.log_odds(train.rewarded, weight)
    terms = _estimate(client, train, weight, varying, parameters, signature)
    begin = [None if held.place is None else base + terms.of(held.place) for held in (train, validation)]
    task = growing.Task(
        columns=varying, signature=signature, parameters=parameters, trees=options.trees, weight=weight, begin=begin[0]
    )
    booster = growing.grow(client, train, task)
    losses = {
        "train": scoring.losses(client, booster, train, begin[0], varying, weight),
        "validation": scoring.losses(client, booster, validation, begin[1], varying),
    }
    best = stop(losses["validation"], options.patience)
    booster = growing.cut(booster, best)
    if train.place is not None:
        booster = positions.lift(booster, base)
    if options.objective == "ranking":
        lists = [joining.bring(client, held) for held in (train, validation)]
        booster = ranking.refine(booster, lists[0], lists[1], varying, signature, parameters, options.patience)
    score = scoring.score(client, booster, validation, varying)
    return Fitted(
        booster=booster,
        signature=signature,
        calibration=calibration.METHODS[options.calibration](score, validation.rewarded),
        calibration_rewards=int(validation.rewarded.sum()),
        parameters=parameters | {"trees": booster.num_trees(), "negatives": share, "rows": len(train.rewarded)},
        losses={name: tree[: best + options.patience] for name, tree in losses.items()},
        terms=terms,
        value=_appraise(client, train, validation, varying, signature, parameters, options),
    )


def stop(losses: list[float], patience: int) -> int:
    """How many trees are best, as early stopping finds it: of those before `patience` trees have made nothing better.

    >>> stop([0.5, 0.4, 0.41, 0.42, 0.1], patience=2)
    2
    """
    best = 0
    for at, loss in enumerate(losses):
        if loss < losses[best]:
            best = at
        if at - best >= patience:
            break
    return best + 1


def _estimate(
    client: Client, train: Held, weight: Floats, varying: Ints, parameters: dict[str, Any], signature: Signature
) -> Terms:
    """The terms of positions, in this process: from no more rows than they are estimated from elsewhere."""
    if train.place is None:
        return Terms(np.empty(0, np.int64), np.empty(0))
    share = min(1.0, positions.ENOUGH_ROWS / len(train.rewarded))
    drawn = np.random.default_rng(parameters["seed"]).random(len(train.rewarded)) < share
    matrix = scoring.take(client, train, drawn)[:, varying]
    return positions.estimate(
        matrix, train.rewarded[drawn], weight[drawn], train.place[drawn], parameters, signature.categorical
    )


def _appraise(
    client: Client,
    train: Held,
    validation: Held,
    varying: Ints,
    signature: Signature,
    parameters: dict[str, Any],
    options: Options,
) -> values.Valued | None:
    """What a reward brings, in this process: it is learnt from the rewarded rows alone."""
    if train.amount is None or validation.amount is None:
        return None
    learnt, judged = (rewarded(client, held) for held in (train, validation))
    return values.fit(learnt, judged, varying, signature, parameters, options.trees, options.patience)


def rewarded(client: Client, held: Held) -> Part:
    """The rows that were, in this process."""
    flags: Flags = held.rewarded
    return Part(
        matrix=scoring.take(client, held, flags),
        rewarded=flags[flags],
        owner=held.owner[flags],
        extra={},
        amount=None if held.amount is None else held.amount[flags],
    )
