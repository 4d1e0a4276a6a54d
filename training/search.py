"""The parameters of the propensity's trees, looked for within a budget: by the validation part, never by the test.

The first trial is what would have been trained without a search, so that the best is never worse than that on
validation. Trials come from a tree-structured Parzen estimator (Bergstra et al. 2011, section 4), by Optuna.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from training import fit, fitting, rewards
from training.evaluation import rank
from training.labels import SECOND, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import optuna

    from models.signature import Signature
    from training.fitting import Fitted, Options, Rows
    from training.options import Stages
    from training.parts import Part

LOSS, NDCG = "log loss", "NDCG@10"
LEAVES, RATES, LEAF_ROWS = (7, 63), (0.02, 0.2), (5, 1000)
RIDGES, FEATURES, ROWS = (0.1, 100.0), (0.2, 1.0), (0.5, 1.0)
MOST_TRIALS = 10_000


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Whichever is used up first."""

    trials: int = MOST_TRIALS
    seconds: float = float("inf")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    parameters: dict[str, float]
    score: float
    """Of the validation part."""
    trees: int
    seconds: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search tried; the first trial is of the parameters that were given."""

    metric: str
    trials: list[Trial]
    best: int
    """The number of the best trial; of equal ones, of the first."""

    @property
    def words(self) -> str:
        first, best = self.trials[0], self.trials[self.best]
        told = f"{len(self.trials)} trials, validation {self.metric} {first.score:.5f}"
        if best is first:
            return f"{told} of the given parameters: nothing better was found"
        chosen = ", ".join(f"{name} {value:.3g}" for name, value in best.parameters.items())
        return f"{told} -> {best.score:.5f} by trial {best.number}: {chosen}"


def parse(text: str) -> Budget:
    """A number of trials, or a time such as 30m or 2h. Raises TrainingError for something else.

    >>> parse("40").trials, parse("10m").seconds
    (40, 600.0)
    """
    if re.fullmatch(r"\d{1,5}", text) and 1 <= int(text) <= MOST_TRIALS:
        return Budget(trials=int(text))
    try:
        seconds = rewards.parse(text) / SECOND
    except ValueError:
        seconds = 0.0
    if seconds <= 0.0:
        raise TrainingError(f"--search {text!r}: a number of trials such as 40, or a time such as 30m, is expected")
    return Budget(seconds=seconds)


def search(
    rows: Rows, options: Options, budget: Budget, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> tuple[Fitted, Options]:
    """The best model and its options. `progress` is told trials, or seconds, of all.

    The same rows, options, seed and number of trials give the same model; a time may end after more or fewer trials.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=options.seed))
    study.enqueue_trial(_given(rows, options))
    maximised = options.objective == "ranking"
    began, trials = time.monotonic(), list[Trial]()
    best: tuple[Fitted, Options] | None = None
    terms = None
    while len(trials) < budget.trials and (not trials or time.monotonic() - began < budget.seconds):
        asked = study.ask()
        tried = _suggest(asked, rows, options)
        started = time.monotonic()
        fitted = fit.grow(rows, tried, terms=terms)
        terms = fitted.terms
        score = _score(rows, fitted, options)
        if best is None or (score > _best(trials, maximised) if maximised else score < _best(trials, maximised)):
            best = fitted, tried
        study.tell(asked, -score if maximised else score)
        trials.append(
            Trial(
                number=len(trials),
                parameters=dict(asked.params),
                score=score,
                trees=fitted.booster.num_trees(),
                seconds=time.monotonic() - started,
            )
        )
        _tell(progress, budget, len(trials), time.monotonic() - began)
    if best is None:
        raise TrainingError("a search needs at least one trial")
    at = next(trial.number for trial in trials if trial.score == _best(trials, maximised))
    found = Found(metric=NDCG if maximised else LOSS, trials=trials, best=at)
    return msgspec.structs.replace(best[0], search=found), best[1]


def learn(
    parts: Mapping[str, Part],
    signature: Signature,
    share: float,
    options: Options,
    budget: Budget | None,
    stages: Stages,
) -> Fitted:
    """The model, by the options as they are or by better ones. Raises TrainingError as `fit`."""
    rows = fit.prepare(parts["train"], parts["validation"], signature, options, share)
    if budget is None:
        with stages.stage("fit") as advance:
            fitted = fit.grow(rows, options, lambda trees: advance(trees, options.trees))
            return fit.appraise(rows, fitted, options)
    with stages.stage("search") as advance:
        fitted, options = search(rows, options, budget, advance)
    if fitted.search is not None:
        stages.say(f"search: {fitted.search.words}")
    return fit.appraise(rows, fitted, options)


def _best(trials: list[Trial], maximised: bool) -> float:
    scores = [trial.score for trial in trials]
    return max(scores) if maximised else min(scores)


def _tell(progress: Callable[[int, int], None], budget: Budget, trials: int, seconds: float) -> None:
    if budget.seconds < float("inf"):
        progress(min(int(seconds), int(budget.seconds)), int(budget.seconds))
    else:
        progress(trials, budget.trials)


def _given(rows: Rows, options: Options) -> dict[str, Any]:
    """The options as a trial."""
    return {
        "learning_rate": options.learning_rate,
        "leaves": options.leaves,
        "smallest_leaf": options.smallest_leaf or fitting.smallest_leaf(len(rows.train.rewarded)),
        "feature_share": options.feature_share,
        "row_share": options.row_share,
        "ridge": options.ridge,
    }


def _suggest(trial: optuna.Trial, rows: Rows, options: Options) -> Options:
    given = _given(rows, options)

    def around(name: str, bounds: tuple[float, float]) -> tuple[float, float]:
        """What was given is inside, wherever it is."""
        return min(bounds[0], given[name]), max(bounds[1], given[name])

    whole = {
        name: trial.suggest_int(name, *map(int, around(name, bounds)), log=True)
        for name, bounds in (("leaves", LEAVES), ("smallest_leaf", LEAF_ROWS))
    }
    real = {
        name: trial.suggest_float(name, *around(name, bounds), log=name in ("learning_rate", "ridge"))
        for name, bounds in (
            ("learning_rate", RATES),
            ("ridge", RIDGES),
            ("feature_share", FEATURES),
            ("row_share", ROWS),
        )
    }
    return msgspec.structs.replace(options, **whole, **real)


def _score(rows: Rows, fitted: Fitted, options: Options) -> float:
    """Log loss of the predicting trees; where others follow that rank, the NDCG@10 of the lists."""
    if options.objective != "ranking":
        return min(fitted.losses["validation"])
    part = rows.validation
    owners, owner = np.unique(part.owner, return_inverse=True)
    score = fit.score(fitted.booster, part.matrix[:, rows.columns])
    return float(np.nanmean(rank(score, part.rewarded, owner, len(owners), options.seed).ndcg))
