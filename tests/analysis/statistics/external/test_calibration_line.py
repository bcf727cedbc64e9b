from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from analysis.statistics.external.calibration_line import calibration_line, fit_lines
from analysis.statistics.resampling import Sample


def made_up(images=400, slope=0.5, intercept=-1.0, seed=0):
    generator = np.random.default_rng(seed)
    scores = expit(generator.normal(size=images) * 2)
    positive = generator.random(images) < expit(intercept + slope * logit(scores))
    return scores, positive, Sample(positive.astype(np.int64), np.arange(images) // 2, ("no", "yes"), "auroc")


def test_the_slope_is_that_of_scikit_learn_and_the_intercept_makes_the_means_agree():
    scores, positive, _ = made_up()
    weights = np.random.default_rng(1).integers(0, 3, (3, len(scores)))
    for (intercept, slope), drawn in zip(fit_lines(scores, positive, weights), weights, strict=True):
        reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        reference.fit(logit(scores)[:, None], positive, sample_weight=drawn)
        assert slope == pytest.approx(reference.coef_[0, 0], abs=1e-4)
        assert np.average(expit(logit(scores) + intercept), weights=drawn) == pytest.approx(
            np.average(positive, weights=drawn), abs=1e-9
        )


def test_the_intervals_cover_the_line_that_made_the_data():
    fitted = calibration_line(*made_up(2000))
    assert fitted.slope_interval[0] < 0.5 < fitted.slope_interval[1]
    assert fitted.slope_interval[1] < 1 and fitted.intercept_interval[1] < 0


def test_the_interval_of_the_intercept_allows_for_the_share_of_positives():
    """It is as wide as the Fisher information of independent images says, however often each of them occurs."""
    scores, positive, sample = made_up(300)
    alone = replace(sample, groups=np.arange(300))
    fitted = calibration_line(scores, positive, alone)
    predicted = expit(logit(scores) + fitted.intercept)
    expected = 2 * 1.96 / np.sqrt((predicted * (1 - predicted)).sum())
    assert np.diff(fitted.intercept_interval)[0] == pytest.approx(expected, rel=0.25)
    twice = np.repeat(np.arange(300), 2)
    pairs = calibration_line(scores[twice], positive[twice], replace(alone.take(twice), groups=twice))
    assert pairs.intercept_interval == pytest.approx(fitted.intercept_interval)


@pytest.mark.parametrize(("groups", "known"), [(1, False), (9, False), (10, True)])
def test_few_groups_have_no_intervals(groups, known):
    scores, positive, sample = made_up(300)
    of_all = np.random.default_rng(0).integers(0, groups, 300)
    fitted = calibration_line(scores, positive, replace(sample, groups=of_all), count=50)
    assert [fitted.intercept_interval is not None, fitted.slope_interval is not None] == [known, known]
    few_positive = np.where(positive, of_all, np.arange(300))
    again = calibration_line(scores, positive, replace(sample, groups=few_positive), count=50)
    assert (again.slope, again.slope_interval is not None) == (fitted.slope, known)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_score_has_no_slope(dtype):
    """Any slope fits, so the fit ended wherever rounding led it."""
    scores, positive = np.full(40, 0.3, dtype), np.arange(40) < 20
    sample = Sample(positive.astype(np.int64), np.arange(40), ("no", "yes"), "auroc")
    assert calibration_line(scores, positive, sample) is None
    intercept, slope = fit_lines(scores, positive, np.ones((1, 40)))[0]
    assert np.isnan(slope) and intercept == pytest.approx(-logit(0.3), abs=1e-6)


def test_separated_outcomes_and_a_single_outcome_have_no_line():
    scores, _, sample = made_up(40)
    assert calibration_line(scores, scores > 0.5, sample) is None
    assert calibration_line(scores, np.ones(40, dtype=bool), sample) is None
