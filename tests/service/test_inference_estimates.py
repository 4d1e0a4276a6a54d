"""Moments, estimates and differences against scipy, statsmodels and plain loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from service.experiments.inference import bayesian, corrections, differences, estimates, mismatch, moments, planning

if TYPE_CHECKING:
    from service.experiments.analysis import Correction

VALUES = arrays.arrays(float, st.tuples(st.integers(0, 12), st.just(3)), elements=st.floats(-1e6, 1e6))

METHODS: dict[Correction, str] = {"holm": "holm", "benjamini-hochberg": "fdr_bh"}


def measured(values: np.ndarray) -> moments.Moments:
    return moments.measure(*values.T)


@given(VALUES, VALUES, VALUES)
@settings(max_examples=60, deadline=None)
def test_moments_add_in_any_order_to_those_of_all_units(one: np.ndarray, two: np.ndarray, three: np.ndarray) -> None:
    whole = measured(np.concatenate([one, two, three]))
    for sofar in (measured(one) + measured(two) + measured(three), measured(three) + (measured(one) + measured(two))):
        assert sofar.units == whole.units
        np.testing.assert_allclose(sofar.means, whole.means, rtol=1e-9, atol=1e-5)
        np.testing.assert_allclose(sofar.products, whole.products, rtol=1e-6, atol=1e-2)


def test_moments_of_days_stacked_and_added_are_those_of_the_whole() -> None:
    values = np.random.default_rng(1).normal(1e9, 1.0, (900, 3))  # a sum of squares would have lost all digits
    days = moments.stack([measured(part) for part in np.split(values, 9)])
    added, whole = moments.add(days), measured(values)
    np.testing.assert_allclose(added.products, whole.products, rtol=1e-6)
    assert whole.products[0, 0] / 899 == pytest.approx(values[:, 0].var(ddof=1), rel=1e-6)


def test_groups_are_measured_as_each_alone_and_an_empty_one_is_empty() -> None:
    generator = np.random.default_rng(2)
    group, values = generator.integers(0, 3, 500), generator.gamma(2.0, 3.0, (500, 3))
    grouped = moments.measure_groups(group, 4, *values.T)
    for at in range(3):
        alone = measured(values[group == at])
        np.testing.assert_allclose(grouped[at].means, alone.means)
        np.testing.assert_allclose(grouped[at].products, alone.products)
    assert grouped.units[3] == 0
    assert not grouped.products[3].any()


def test_a_difference_read_once_is_welchs_of_scipy() -> None:
    generator = np.random.default_rng(3)
    control, variant = generator.gamma(2.0, 3.0, 70), generator.gamma(2.2, 4.0, 40)
    arms = estimates.estimate(moments.stack([moments.measure(control), moments.measure(variant)]))
    found = differences.compare(arms[1], arms[0], 0.1)
    expected = stats.ttest_ind(variant, control, equal_var=False)
    interval = expected.confidence_interval(0.9)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_counts_are_the_moments_of_ones_and_zeros() -> None:
    units = np.repeat([1.0, 0.0], [30, 170])
    counted, known = moments.count(200, 30), moments.measure(units)
    np.testing.assert_allclose(counted.products, known.products, atol=1e-9)
    np.testing.assert_allclose(counted.means, known.means)


def test_a_ratios_variance_is_that_of_clustered_regression() -> None:
    generator = np.random.default_rng(4)
    sessions = generator.poisson(3, 400) + 1
    orders = generator.binomial(sessions, 0.3)
    found = estimates.estimate(moments.measure(orders, sessions))
    owner = np.repeat(np.arange(400), sessions)
    rows = np.concatenate([np.repeat([1.0, 0.0], [n, m - n]) for n, m in zip(orders, sessions, strict=True)])
    fit = sm.OLS(rows, np.ones(len(rows))).fit(cov_type="cluster", cov_kwds={"groups": owner, "use_correction": False})
    assert found.value == pytest.approx(fit.params[0])
    assert np.sqrt(found.variance) == pytest.approx(fit.bse[0], rel=0.002)


def test_adjusting_by_a_covariate_is_the_regression_on_arm_and_covariate() -> None:
    generator = np.random.default_rng(5)
    habit = generator.normal(5, 2, 3000)
    arm = generator.integers(0, 2, 3000)
    amount = 1.5 * habit + 0.4 * arm + generator.normal(0, 1, 3000)
    adjusted = estimates.adjust(moments.measure_groups(arm, 2, amount, 1.0, habit))
    found = differences.compare(adjusted[1], adjusted[0])
    fit = sm.OLS(amount, sm.add_constant(np.stack([arm, habit], 1))).fit(cov_type="HC1")
    assert found.value == pytest.approx(fit.params[1], rel=1e-9)
    assert found.error == pytest.approx(fit.bse[1], rel=0.01)
    assert adjusted.variance[0] < adjusted.plain[0] / 5


def test_without_a_covariate_adjusting_changes_nothing() -> None:
    arms = moments.count(np.array([100, 120]), np.array([10, 9]))
    assert np.array_equal(estimates.adjust(arms).value, estimates.estimate(arms).value)
    assert np.array_equal(estimates.adjust(arms).variance, estimates.estimate(arms).variance)


def test_a_ratio_is_adjusted_as_its_linear_part() -> None:
    generator = np.random.default_rng(6)
    habit = generator.gamma(3.0, 1.0, (400, 2, 300))
    sessions = generator.poisson(2, habit.shape) + 1
    orders = sessions * habit + generator.normal(0, 1, habit.shape)
    arms = moments.measure(orders, sessions, habit)
    plain, adjusted = estimates.estimate(arms), estimates.adjust(arms)
    spread = (adjusted.value[:, 1] - adjusted.value[:, 0]).std()
    assert spread < 0.5 * (plain.value[:, 1] - plain.value[:, 0]).std()
    assert np.sqrt(adjusted.variance.sum(-1)).mean() == pytest.approx(spread, rel=0.1)


@given(st.integers(5, 95), st.integers(5, 95), st.integers(100, 5000))
@settings(max_examples=100, deadline=None)
def test_a_lifts_interval_excludes_0_exactly_if_the_differences_does(a: int, b: int, units: int) -> None:
    arms = estimates.estimate(moments.count(np.full(2, 100 * units // 100), np.array([a, b]) * units // 100))
    for found in (differences.compare(arms[1], arms[0]), differences.follow(arms[1], arms[0])):
        if np.isnan(found.lift_low):
            continue
        assert (found.lift_low > 0) == (found.low > 0)
        assert (found.lift_high < 0) == (found.high < 0)
        assert found.lift_low <= found.lift <= found.lift_high


def test_a_lifts_interval_is_unknown_where_the_control_may_be_0() -> None:
    arms = estimates.estimate(moments.count(np.array([1000, 1000]), np.array([1, 9])))
    found = differences.compare(arms[1], arms[0])
    assert np.isnan(found.lift_low)
    assert found.low > 0


def test_the_sequential_p_is_the_level_at_which_the_interval_touches_0() -> None:
    arms = estimates.estimate(moments.count(np.array([3000, 3000]), np.array([150, 220])))
    p = float(differences.follow(arms[1], arms[0], 0.05, 8000).p)
    rho = differences.mixing(0.05, 8000)
    found = differences.follow(arms[1], arms[0], 0.05, 8000)
    width = differences.boundary(6000 * rho, p)
    assert found.value - width * found.error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("units", [1, 50])
def test_too_few_units_say_nothing(units: int) -> None:
    arms = estimates.estimate(moments.count(np.full(2, units), np.array([0, units])))
    found = differences.follow(arms[1], arms[0])
    assert np.isnan(found.low)
    assert found.p == 1.0 or np.isnan(found.p)


def test_where_nothing_varies_nothing_is_found() -> None:
    arms = estimates.estimate(moments.count(np.array([500, 500]), np.array([0, 0])))
    for found in (differences.compare(arms[1], arms[0]), differences.follow(arms[1], arms[0])):
        assert found.p == 1.0
        assert np.isnan(found.low)


def test_a_mismatch_is_scipys_chi_square_also_where_arms_are_missing() -> None:
    expected = stats.chisquare([480, 530, 990], [500, 500, 1000]).pvalue
    units = np.array([[480.0, 530.0, 990.0], [50.0, 50.0, 0.0], [70.0, 0.0, 0.0]])
    present = units > 0
    found = mismatch.check_shares(units, [0.25, 0.25, 0.5], present)
    assert found[0] == pytest.approx(expected)
    assert found[1] == 1.0
    assert np.isnan(found[2])


def test_units_with_their_own_chances_are_checked_against_these() -> None:
    generator = np.random.default_rng(7)
    chance = np.repeat([0.5, 0.9], 5000)
    found = []
    for _ in range(400):
        arm = (generator.random(10_000) < chance).astype(int)
        found.append(mismatch.check_chances(arm, np.where(arm == 1, chance, 1 - chance), 2))
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.04, abs=0.03)  # two arms that mirror one another
    lost = (generator.random(10_000) < chance - 0.05).astype(int)
    assert mismatch.check_chances(lost, np.where(lost == 1, chance, 1 - chance), 2) < 1e-6


@pytest.mark.parametrize("many", [1, 2, 5, 12])
def test_corrections_are_those_of_statsmodels(many: int) -> None:
    p = np.random.default_rng(many).beta(0.3, 1.0, many).round(2)  # with ties
    for ours, theirs in METHODS.items():
        np.testing.assert_allclose(corrections.correct(p, ours), multipletests(p, method=theirs)[1])


def test_intervals_of_a_corrected_family_are_wider_and_unknown_values_take_part() -> None:
    adjusted = corrections.correct([0.001, np.nan, 0.04], "holm")
    assert adjusted[0] == pytest.approx(0.003)
    assert np.isnan(adjusted[1])
    assert corrections.interval_level(adjusted, 0.05, "holm") == pytest.approx(0.05 / 3)
    assert corrections.interval_level(adjusted, 0.05, "none") == 0.05


def test_benjamini_hochbergs_intervals_agree_with_its_findings() -> None:
    p = np.array([0.001, 0.02, 0.024, 0.8])
    adjusted = corrections.correct(p, "benjamini-hochberg")
    level = corrections.interval_level(adjusted, 0.05, "benjamini-hochberg")
    assert ((p <= level) == (adjusted <= 0.05)).all()


def test_of_two_arms_the_best_is_as_likely_as_the_normal_law_says() -> None:
    arms = estimates.estimate(moments.count(np.array([4000, 4000]), np.array([200, 230])))
    error = float(np.sqrt(arms.variance.sum()))
    z = float(arms.value[1] - arms.value[0]) / error
    belief = bayesian.believe(arms)
    assert belief.best[1] == pytest.approx(stats.norm.cdf(z), abs=0.005)
    assert belief.loss[1] == pytest.approx(error * (stats.norm.pdf(z) - z * stats.norm.sf(z)), rel=0.05)
    assert belief.best.sum() == pytest.approx(1.0)
    assert bayesian.believe(arms, "decrease").best[0] == pytest.approx(belief.best[1], abs=0.005)


def test_beliefs_are_near_those_of_beta_distributions() -> None:
    arms = estimates.estimate(moments.count(np.array([1000, 1000]), np.array([50, 65])))
    draws = np.random.default_rng(1).beta([51, 66], [951, 936], (200_000, 2))
    assert bayesian.believe(arms).best[1] == pytest.approx((draws[:, 1] > draws[:, 0]).mean(), abs=0.01)


def test_the_planners_units_are_statsmodels_ones_for_equal_deviations() -> None:
    design = planning.Design(mean=10.0, deviation=4.0, shares=(0.25, 0.75), power=0.9)
    each = NormalIndPower().solve_power(0.5 / 4.0, power=0.9, alpha=0.05, ratio=3.0)
    assert planning.plan_units(design, 0.5) == pytest.approx(4 * each, rel=1e-3)


@pytest.mark.parametrize("mode", ["fixed", "sequential"])
def test_planning_units_and_planning_the_effect_are_inverse(mode: planning.Shape) -> None:
    design = planning.Design(mean=0.08, mode=mode, shares=(0.4, 0.3, 0.3), comparisons=2)
    units = planning.plan_units(design, 0.004)
    assert planning.plan_effect(design, units) == pytest.approx(0.004, rel=1e-4)


def test_a_covariate_saves_units_by_theory_and_looking_often_costs_some() -> None:
    design = planning.Design(mean=10, deviation=5)
    plain = planning.plan_units(design, 0.2)
    saved = planning.plan_units(planning.Design(mean=10, deviation=5, correlation=0.6), 0.2)
    looked = planning.plan_units(planning.Design(mean=10, deviation=5, mode="sequential"), 0.2)
    assert saved / plain == pytest.approx(1 - 0.6**2, rel=1e-3)
    assert 1.3 * plain < looked < 2.5 * plain


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mean": 1.2}, "conversion rate"),
        ({"mean": 1.2, "deviation": 0.0}, "deviation above 0"),
        ({"mean": 0.1, "shares": (1.0,)}, "two variants"),
        ({"mean": 0.1, "power": 1.0}, "power between"),
        ({"mean": 0.1, "comparisons": 0}, "one comparison"),
    ],
)
def test_what_no_experiment_can_be_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        planning.Design(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_no_effect_and_an_impossible_one_are_refused() -> None:
    design = planning.Design(mean=0.05)
    with pytest.raises(ValueError, match="other than 0"):
        planning.plan_units(design, 0.0)
    with pytest.raises(ValueError, match="cannot change by"):
        planning.plan_units(design, 0.96)
    with pytest.raises(ValueError, match="so few units"):
        planning.plan_effect(planning.Design(mean=0.5), 2)
