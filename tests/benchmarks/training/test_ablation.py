"""The figures of the ablation against scipy, and what a repeated command still trains."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.training import ablation
from trainables.core.config import TrainConfig


def test_the_interval_of_one_data_set_is_the_paired_t_interval():
    differences = np.random.default_rng(0).normal(0.02, 0.05, (1, 7))
    mean, low, high = ablation.mean_interval(differences)
    expected = stats.ttest_1samp(differences[0], 0.0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((differences.mean(), expected.low, expected.high))


def test_the_interval_covers_the_mean_of_unlike_data_sets():
    """Data sets differ by far more than seeds, and are no part of the error."""
    generator, effects, covered = np.random.default_rng(1), np.array([-0.3, 0.0, 0.1, 0.4]), 0
    for _ in range(2000):
        _, low, high = ablation.mean_interval(generator.normal(effects[:, None], 0.05, (4, 3)))
        covered += low <= effects.mean() <= high
    assert abs(covered / 2000 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


def test_finished_trainings_are_not_repeated():
    everything = list(ablation.missing([], seeds=2))
    assert len(everything) == 2 * 4 * len(ablation.NAMES)
    assert [training["seed"] for training in everything] == sorted(training["seed"] for training in everything)
    assert list(ablation.missing(everything[:50], seeds=2)) == everything[50:]


@pytest.mark.parametrize("name", ablation.NAMES)
def test_every_treatment_is_a_configuration_that_differs_from_the_baseline(name):
    treated = TrainConfig.from_dict(ablation.BASELINE | ablation.TREATMENTS.get(name, {}))
    assert (treated == TrainConfig.from_dict(ablation.BASELINE)) == (name == "baseline")


def test_differences_are_paired_by_data_set_and_seed():
    trainings = [
        {**training, "score": ablation.NAMES.index(training["name"]) + 10 * training["seed"]}
        for training in ablation.missing([], seeds=3)
    ]
    scores = ablation.scores_of(trainings, 3)
    assert scores.shape == (len(ablation.NAMES), 4, 3)
    for index in range(len(ablation.NAMES)):
        assert ((scores[index] - scores[0]) == index).all()
    rows = ablation.rows_of(scores)
    assert rows[1].measured == pytest.approx(100)
    assert len(rows) == len(ablation.NAMES)
