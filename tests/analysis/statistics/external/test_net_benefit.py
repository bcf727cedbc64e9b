import numpy as np
import pytest

from analysis.statistics.external.net_benefit import decision_curve, predictive_values


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
