import numpy as np
import pytest
from scipy.stats import norm

from analysis.statistics.external.net_benefit import decision_curve, predictive_values
from analysis.statistics.resampling import Sample


def test_net_benefit_counts_true_positives_less_weighted_false_ones():
    generator = np.random.default_rng(0)
    scores, positive, thresholds = generator.random(50), generator.random(50) < 0.3, np.array([0.1, 0.4, 0.75])
    curve = decision_curve(scores, positive, thresholds)
    for threshold, model, everyone in zip(thresholds, curve.model, curve.everyone, strict=True):
        treated = [truth for score, truth in zip(scores, positive, strict=True) if score >= threshold]
        harm = threshold / (1 - threshold)
        assert model == pytest.approx((sum(treated) - harm * (len(treated) - sum(treated))) / 50)
        assert everyone == pytest.approx((positive.sum() - harm * (~positive).sum()) / 50)


def test_net_benefit_at_another_prevalence_is_that_of_a_sample_with_it():
    generator = np.random.default_rng(1)
    scores, positive, thresholds = generator.random(40), np.arange(40) < 20, np.array([0.2, 0.5])
    rows = np.concatenate([np.flatnonzero(positive), np.repeat(np.flatnonzero(~positive), 9)])
    diluted = decision_curve(scores[rows], positive[rows], thresholds)
    assert decision_curve(scores, positive, thresholds, prevalence=0.1).model == pytest.approx(diluted.model)


def drawn(groups, images, generator, agreement=0.5):
    """Scores of images in groups: each group has one outcome, and its images' scores are alike."""
    of_group = np.repeat(np.arange(2 * groups), images)
    positive = of_group % 2 == 1
    noise = np.sqrt(agreement) * generator.normal(size=2 * groups)[of_group]
    noise += np.sqrt(1 - agreement) * generator.normal(size=len(of_group))
    sample = Sample(positive.astype(np.int64), of_group, ("well", "ill"), "auroc")
    return norm.cdf(noise + np.where(positive, 0.8, -0.8)), positive, sample


def test_bands_of_decision_curves_cover_the_truth_as_promised():
    """The truth of this made-up model is known; each threshold is covered by itself."""
    generator, thresholds, repetitions = np.random.default_rng(0), np.array([0.1, 0.3, 0.5, 0.8]), 300
    found, false = (norm.sf(norm.ppf(thresholds) - shift) for shift in (0.8, -0.8))
    truth = 0.5 * found - 0.5 * false * thresholds / (1 - thresholds)
    covered = np.zeros(len(thresholds))
    for _ in range(repetitions):
        scores, positive, sample = drawn(15, 4, generator)
        curve = decision_curve(scores, positive, thresholds, sample=sample)
        covered += (np.array(curve.low) <= truth) & (truth <= np.array(curve.high))
    assert (covered / repetitions > 0.93).all()


def test_bands_are_as_wide_as_those_of_a_bootstrap_where_groups_have_both_outcomes():
    """Sensitivity and false positive rate of the same groups are correlated, which narrows the band."""
    generator, thresholds = np.random.default_rng(0), np.array([0.3, 0.5])
    of_group, positive = np.repeat(np.arange(200), 4), np.tile([True, False], 400)
    scores = norm.cdf(generator.normal(size=200)[of_group] + np.where(positive, 0.8, -0.8))
    sample = Sample(positive.astype(np.int64), of_group, ("well", "ill"), "auroc")
    curve = decision_curve(scores, positive, thresholds, sample=sample)
    drawn_benefit = []
    for _ in range(2000):
        rows = (4 * generator.integers(0, 200, 200)[:, None] + np.arange(4)).ravel()
        drawn_benefit.append(decision_curve(scores[rows], positive[rows], thresholds).model)
    low, high = np.quantile(drawn_benefit, (0.025, 0.975), axis=0)
    np.testing.assert_allclose(np.subtract(curve.high, curve.low), high - low, rtol=0.15)


def test_few_groups_and_decisions_that_are_all_alike():
    scores, positive, sample = drawn(9, 4, np.random.default_rng(0))
    assert decision_curve(scores, positive, np.array([0.5]), sample=sample).low == ()
    scores, positive, sample = drawn(12, 4, np.random.default_rng(0))
    right = np.where(positive, 0.9, 0.1)
    curve = decision_curve(right, positive, np.array([0.5]), sample=sample)
    assert curve.model == (0.5,) and curve.low[0] < 0.5 <= curve.high[0]


def test_predictive_values_follow_from_counts():
    """90 of 100 ill and 720 of 900 healthy are recognised at a prevalence of 10%."""
    ppv, npv = predictive_values(0.9, 0.8, 0.1)
    assert (ppv.value, npv.value) == pytest.approx((90 / (90 + 180), 720 / (720 + 10)))
    assert ppv.interval is npv.interval is None


def test_intervals_of_predictive_values_cover_as_promised():
    generator = np.random.default_rng(0)
    draws, ill, healthy, sensitivity, specificity, prevalence = 2000, 60, 80, 0.85, 0.7, 0.05
    truth = predictive_values(sensitivity, specificity, prevalence)
    covered = np.zeros(2)
    for found, cleared in zip(
        generator.binomial(ill, sensitivity, draws), generator.binomial(healthy, specificity, draws), strict=True
    ):
        bounds = [wilson(found, ill), wilson(cleared, healthy)]
        for place, (value, true) in enumerate(
            zip(predictive_values(found / ill, cleared / healthy, prevalence, *bounds), truth, strict=True)
        ):
            covered[place] += value.interval[0] <= true.value <= value.interval[1]
    assert (covered / draws > 0.93).all() and (covered / draws < 0.98).all()


@pytest.mark.parametrize(("sensitivity", "specificity"), [(1.0, 0.9), (0.9, 1.0), (1.0, 1.0), (0.0, 0.5)])
def test_values_at_the_limits_have_intervals_that_contain_them(sensitivity, specificity):
    bounds = [(max(share - 0.2, 0.0), min(share + 0.2, 1.0)) for share in (sensitivity, specificity)]
    for value in predictive_values(sensitivity, specificity, 0.2, *bounds):
        assert 0 <= value.interval[0] <= value.value <= value.interval[1] <= 1
        assert value.interval[0] < value.interval[1]


def test_a_test_that_calls_nothing_positive_has_no_positive_predictive_value():
    ppv, npv = predictive_values(0.0, 1.0, 0.2, (0.0, 0.1), (0.9, 1.0))
    assert ppv.value is None and npv.value == pytest.approx(0.8)


def wilson(right, count, z=1.96):
    centre = (right + z**2 / 2) / (count + z**2)
    half = z * np.sqrt(right * (count - right) / count + z**2 / 4) / (count + z**2)
    return centre - half, centre + half
