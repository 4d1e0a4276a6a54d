"""The policy that logged one file, valued from the log of another: any logs with selection probabilities.

The target's chance of an action is the mean of those that it logged, within each context, made to add up to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from pydantic import Field, model_validator

from features.imports.mapping import Expression  # noqa: TC001  # pydantic reads it when the program runs
from models import off_policy
from models.off_policy import OffPolicyError
from training import tables
from training.tables import Reading

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from models.off_policy import Estimate, Valuation
    from training.labels import Flags, Floats, Ints
    from training.tables import Table

MOST_LEFT_OUT = 0.05
"""Share of the log's rows in contexts that the target never logged, above which nothing is valued."""
ADDS_UP = 0.05
"""How far from 1 the target's mean chances may add up, before it is said that they depend on more than the context."""


class Mapping(Reading):
    """Of both logs; each value is a column or an SQL expression."""

    action: Expression
    probability: Expression
    """The selection probability of the action; of a slate's, given those above it."""
    reward: Expression
    context: list[Expression] = Field(default_factory=list)
    """What the target's chances are told apart by, as the position on the page. Few values: each needs its rows."""
    unit: Expression | None = None
    """Whose row it is: rows of one unit are not independent. If left out, all are."""
    slate: Expression | None = None
    """What stood on one page, where picks below depend on those above."""
    rank: Expression | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.slate is None) != (self.rank is None):
            raise ValueError("slate and rank go together")
        return self


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """One log's n rows."""

    context: Ints
    action: Ints
    probability: Floats
    reward: Floats
    unit: Ints
    slate: Ints


class Valued(msgspec.Struct, frozen=True, kw_only=True):
    valuation: Valuation
    earned: Estimate
    """What the target earned in its own log."""
    notes: tuple[str, ...]


def value_files(log: Path, target: Path, mapping: Path) -> Valued:
    """Raises OffPolicyError, or what reading raises, with what to put right."""
    document, said = tables.read_mapping(mapping, Mapping)
    contexts: dict[str, int] = {}
    actions: dict[str, int] = {}
    ours, theirs = (
        _extract(tables.read(path, document, said, _asked(said)), said, contexts, actions) for path in (log, target)
    )
    return value_logs(ours, theirs, len(contexts), len(actions))


def value_logs(log: Log, target: Log, contexts: int, actions: int) -> Valued:
    """Contexts and actions are numbered alike in both logs."""
    policy, totals = average(target, contexts, actions)
    known = totals[log.context] > 0.0
    left_out = 1.0 - float(known.mean())
    if left_out > MOST_LEFT_OUT:
        raise OffPolicyError(
            f"{left_out:.0%} of the log's rows are in contexts that the target never logged: choose a coarser `context`"
        )
    log = _select(log, known)
    notes = [f"{left_out:.2%} of the log's rows are in contexts that the target never logged: left out"]
    off = float(np.abs(totals[totals > 0.0] - 1.0).max())
    if off > ADDS_UP:
        notes.append(
            f"the target's mean chances in a context add up to {totals[totals > 0.0].max():.2f}: they depend on more "
            "than `context` says, and are made to add up to 1"
        )
    model = off_policy.expect(log.reward, log.context, log.action, policy, log.unit)
    rounds = off_policy.gather(
        log.reward,
        log.probability,
        policy[log.context, log.action],
        slate=log.slate,
        unit=log.unit,
        expected=model.expected,
        target_expected=model.target_expected,
        uncovered=_uncovered(log, policy),
    )
    own = off_policy.gather(target.reward, target.probability, target.probability, target.slate, target.unit)
    return Valued(
        valuation=off_policy.value(rounds),
        earned=off_policy.inverse_probability(own),
        notes=tuple(notes if left_out else notes[1:]),
    )


def average(target: Log, contexts: int, actions: int) -> tuple[Floats, Floats]:
    """(contexts, actions) mean logged probability of each action, made to add up to 1; and what it added up to."""
    cell = target.context * actions + target.action
    count = np.bincount(cell, minlength=contexts * actions)
    mean = np.bincount(cell, target.probability, minlength=contexts * actions) / np.maximum(count, 1)
    policy = mean.reshape(contexts, actions)
    totals = policy.sum(axis=1)
    return policy / np.where(totals > 0.0, totals, 1.0)[:, None], totals


def _uncovered(log: Log, policy: Floats) -> float:
    """Share of the target's picks, in the log's contexts, that the log never has."""
    contexts, actions = policy.shape
    cells = np.bincount(log.context * actions + log.action, minlength=contexts * actions).reshape(contexts, actions)
    share = np.bincount(log.context, minlength=contexts) / len(log.context)
    return float(share @ (policy * (cells == 0)).sum(axis=1))


def _asked(mapping: Mapping) -> dict[str, tuple[tuple[str | int, ...], str]]:
    names = ("action", "probability", "reward", "unit", "slate", "rank")
    single = {name: ((name,), text) for name in names if (text := getattr(mapping, name)) is not None}
    return single | {f"context {at}": (("context", at), text) for at, text in enumerate(mapping.context)}


def _extract(table: Table, mapping: Mapping, contexts: dict[str, int], actions: dict[str, int]) -> Log:
    probability = table.numbers("probability")
    if ((probability <= 0.0) | (probability > 1.0)).any():
        wrong = np.flatnonzero((probability <= 0.0) | (probability > 1.0))
        raise OffPolicyError(
            f"{table.path}: {len(wrong):,} of {len(probability):,} probabilities do not lie above 0 and up to 1; row "
            f"{table.rows[wrong[0]]:,} is the first"
        )
    names = [f"context {at}" for at in range(len(mapping.context))]
    rows = np.arange(len(probability))
    log = Log(
        context=tables.number(table.codes(*names), contexts),
        action=tables.number(table.texts("action"), actions),
        probability=probability,
        reward=table.numbers("reward"),
        unit=rows if mapping.unit is None else tables.number(table.texts("unit"), {}),
        slate=rows if mapping.slate is None else tables.number(table.texts("slate"), {}),
    )
    if mapping.rank is None:
        return log
    if mapping.unit is None:
        log = msgspec.structs.replace(log, unit=log.slate)
    return _select(log, np.lexsort((table.numbers("rank"), log.slate)))


def _select(log: Log, rows: Ints | Flags) -> Log:
    return Log(**{name: getattr(log, name)[rows] for name in log.__struct_fields__})
