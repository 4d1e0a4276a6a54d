"""What a model has to show before it may serve: each gate a measure, a bound, and whether it holds. Pure.

Bounds are data: `gates.yaml` in the home changes them. What cannot be measured (no champion yet, nothing logged) is
told as such and does not stand in the way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import yaml

from training.appraisal import DEVIANCE, MEAN
from training.evidence import Bounds as Bounds
from training.evidence import Evidence as Evidence
from training.evidence import Serving as Serving
from training.evidence import Verdict as Verdict
from training.labels import TrainingError
from training.metrics import AUC, ECE, HIGHER, LOSS, NDCG, RATIO

if TYPE_CHECKING:
    from features.home import Home
    from models.off_policy import Valuation
    from training.appraisal import Appraised
    from training.comparison import Comparison, Judged
    from training.evaluation import Reliability
    from training.skew.auditing import Audit

FILE = "gates.yaml"
REPLICATES = 1000


def read_bounds(home: Home) -> Bounds:
    """Of the home's `gates.yaml`, if it is there. Raises TrainingError for a file that says something else."""
    path = home.root / FILE
    if not path.exists():
        return Bounds()
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()) or {}, Bounds)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise TrainingError(f"{path}: {error}") from None


def judge(evidence: Evidence, bounds: Bounds) -> list[Verdict]:
    """All gates that are on, in the order in which they are told."""
    compared = evidence.comparison
    return [
        verdict
        for verdict in (
            _judge_champion(evidence, bounds),
            _judge_area(compared, bounds),
            _judge_calibration(evidence, bounds),
            _judge_ratio(evidence, bounds),
            judge_values(evidence.appraised, bounds),
            _judge_policy(evidence.valuation, bounds),
            _judge_skew(evidence.audit, bounds),
            _judge_latency(evidence.serving, bounds),
            _judge_signature(evidence.serving),
        )
        if verdict is not None
    ]


def holds(verdicts: list[Verdict]) -> bool:
    return all(verdict.holds is not False for verdict in verdicts)


def refusal(verdicts: list[Verdict]) -> str:
    """The gates that do not hold, in words; empty if all do."""
    failed = [f"{it.gate}: {it.figure}, asked for {it.bound}" for it in verdicts if it.holds is False]
    return "; ".join(failed)


def _judge_champion(evidence: Evidence, bounds: Bounds) -> Verdict | None:
    if bounds.better_by is None:
        return None
    gate, bound = "better than the champion", f"lower end above {bounds.better_by:g}"
    champion = next((it for it in evidence.comparison.baselines if it.name == evidence.champion), None)
    if champion is None:
        return Verdict(gate=gate, holds=None, figure="there is no champion that could be compared", bound=bound)
    metric = choose_metric(evidence.comparison, champion, same_meaning=evidence.same_meaning)
    difference = evidence.comparison.difference(metric, champion)
    if difference is None or math.isnan(difference.low):
        return Verdict(gate=gate, holds=False, figure=f"{metric} cannot be compared on this test", bound=bound)
    sign = 1.0 if metric in HIGHER else -1.0
    low, high = sorted((sign * difference.low, sign * difference.high))
    figure = f"{metric} better by {sign * difference.value:+.4f} ({low:+.4f} to {high:+.4f})"
    return Verdict(gate=gate, holds=low > bounds.better_by, figure=figure, bound=bound)


def choose_metric(comparison: Comparison, champion: Judged, *, same_meaning: bool) -> str:
    """Ranking where lists are ranked; else log loss, or AUC where the champion's probabilities mean something else."""
    if NDCG in comparison.model.metrics and NDCG in champion.metrics:
        return NDCG
    return LOSS if same_meaning and LOSS in champion.metrics else AUC


def _judge_area(compared: Comparison, bounds: Bounds) -> Verdict | None:
    if bounds.auc is None:
        return None
    area = compared.model.metrics[AUC]
    figure = f"AUC {_span(area.value, area.low, area.high)}"
    return Verdict(gate="knows something", holds=area.low > bounds.auc, figure=figure, bound=f"above {bounds.auc:g}")


def _span(value: float, low: float, high: float) -> str:
    interval = f"{low:.3f} to {high:.3f}" if math.isfinite(low) else "no interval: they are one customer's"
    return f"{value:.3f} ({interval})"


def _judge_calibration(evidence: Evidence, bounds: Bounds) -> Verdict | None:
    model = evidence.comparison.model
    if bounds.calibration_error is None or model.reliability is None:
        return None
    error, by_chance = model.metrics[ECE].value, expect_error(model.reliability, _unsure(evidence))
    return Verdict(
        gate="calibration",
        holds=error <= max(bounds.calibration_error, by_chance),
        figure=f"ECE {error:.4f}; by chance up to {by_chance:.4f}",
        bound=f"at most {bounds.calibration_error:g}, or what chance alone gives",
    )


def _unsure(evidence: Evidence) -> float:
    """The relative standard error of a level that was learnt from so many rewards, a Poisson count's."""
    rewards = evidence.calibration_rewards
    return 0.0 if rewards is None else 1.0 / math.sqrt(max(rewards, 1))


def expect_error(bins: Reliability, unsure: float = 0.0) -> float:
    """The ECE that a calibrated model exceeds on such bins one time in a hundred: rewards drawn as it predicts them
    (the consistency resampling of Broecker and Smith 2007, section 3), its level off by as much as it is `unsure` of.
    """
    rows, generator = bins.rows.astype(np.int64), np.random.default_rng(0)
    level = np.exp(unsure * generator.standard_normal((REPLICATES, 1)))
    drawn = generator.binomial(rows, np.clip(bins.predicted * level, 0.0, 1.0))
    errors = np.average(np.abs(drawn / rows - bins.predicted), axis=1, weights=bins.rows)
    return float(np.quantile(errors, 0.99))


def _judge_ratio(evidence: Evidence, bounds: Bounds) -> Verdict | None:
    metrics = evidence.comparison.model.metrics
    if bounds.calibration_ratio is None or RATIO not in metrics:
        return None
    (low, high), ratio = bounds.calibration_ratio, metrics[RATIO]
    # Both samples have their errors: the one that it is judged on, and the one that it was calibrated on.
    margin = math.exp(1.96 * _unsure(evidence))
    figure = _span(ratio.value, ratio.low / margin, ratio.high * margin)
    inside = ratio.high * margin >= low and ratio.low / margin <= high
    return Verdict(gate="predicted over actual", holds=inside, figure=figure, bound=f"{low:g} to {high:g}")


def judge_values(appraised: Appraised | None, bounds: Bounds) -> Verdict | None:
    """What rewards bring is right in sum, and told better than by one number for all, or at least not worse."""
    if bounds.value_ratio is None or appraised is None:
        return None
    (low, high), ratio = bounds.value_ratio, appraised.model.metrics[RATIO]
    mean = next(it for it in appraised.baselines if it.name == MEAN)
    gained = appraised.difference(mean)
    figure = (
        f"predicted over actual {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}), "
        f"{DEVIANCE} {gained.value:+.3f} ({gained.low:+.3f} to {gained.high:+.3f}) against the mean"
    )
    bound = f"{low:g} to {high:g}, and not above the mean's deviance"
    holds = ratio.high >= low and ratio.low <= high and gained.low <= 0.0
    return Verdict(gate="values of rewards", holds=holds, figure=figure, bound=bound)


def _judge_policy(valuation: Valuation | None, bounds: Bounds) -> Verdict | None:
    if bounds.policy_loss is None:
        return None
    gate, bound = "value of its decisions", f"lower end at most {bounds.policy_loss:.0%} below what was earned"
    if valuation is None or valuation.doubly_robust is None:
        return Verdict(gate=gate, holds=None, figure="no decisions that it could be valued by", bound=bound)
    estimate, earned = valuation.doubly_robust, valuation.logged.value
    figure = f"DR {estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f}), earned {earned:.4f}"
    if not valuation.is_trusted:
        return Verdict(gate=gate, holds=None, figure=f"{figure}: too little support", bound=bound)
    return Verdict(gate=gate, holds=estimate.low >= earned * (1.0 - bounds.policy_loss), figure=figure, bound=bound)


def _judge_skew(audit: Audit | None, bounds: Bounds) -> Verdict | None:
    if bounds.skew is None:
        return None
    bound = f"at most {bounds.skew:.1%} of the values of any feature"
    if audit is None or not audit.lines:
        return Verdict(gate="skew", holds=None, figure="no logged decisions to compare", bound=bound)
    worst, skewed = audit.lines[0], audit.skewed(bounds.skew)
    figure = f"{worst.name} {worst.share:.2%}" if worst.mismatching else f"none in {audit.decisions:,} decisions"
    if len(skewed) > 1:
        figure += f", and {len(skewed) - 1} more"
    return Verdict(gate="skew", holds=not skewed, figure=figure, bound=bound)


def _judge_latency(serving: Serving, bounds: Bounds) -> Verdict | None:
    if bounds.latency_ms is None:
        return None
    figure = "not measured" if math.isnan(serving.latency_ms) else f"{serving.latency_ms:.3f} ms for 100 rows"
    inside = serving.latency_ms <= bounds.latency_ms
    return Verdict(gate="scoring latency", holds=inside, figure=figure, bound=f"at most {bounds.latency_ms:g} ms")


def _judge_signature(serving: Serving) -> Verdict:
    figure = serving.problem or "loads, and scores as it was trained"
    return Verdict(gate="signature", holds=not serving.problem, figure=figure, bound="a service can fill it")


def tell(verdicts: list[Verdict]) -> dict[str, Any]:
    """As a bundle and the registry keep them."""
    return {it.gate: {"holds": it.holds, "figure": it.figure, "bound": it.bound} for it in verdicts}
