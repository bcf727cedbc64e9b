import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.statistics.baselines import (
    MAJORITY,
    NEIGHBOUR,
    baseline_predictions,
    compared_with_baselines,
    verdict,
)
from analysis.statistics.resampling import Sample
from trainables.core.data.decode.images import SIDE


def test_the_neighbour_and_the_majority_are_those_of_all_other_images(small_data):
    test = small_data.splits["test"]
    others = np.setdiff1d(np.concatenate(list(small_data.splits.values())), test)
    pixels = small_data.images(SIDE).reshape(len(small_data.labels), -1).astype(float)
    correlation = np.corrcoef(pixels)[np.ix_(test, others)]
    nearest = small_data.labels[others[correlation.argmax(axis=1)]]
    found = baseline_predictions(small_data)
    np.testing.assert_array_equal(found[NEIGHBOUR].argmax(axis=1), nearest)
    assert set(found[MAJORITY].argmax(axis=1)) == {np.bincount(small_data.labels[others]).argmax()}
    labels = small_data.labels[test]
    _, neighbour = compared_with_baselines(
        np.eye(3)[labels], found, ClassificationResults(small_data).sample("test", "accuracy")
    )
    assert neighbour.score == accuracy_score(labels, nearest)
    assert neighbour.interval[0] <= neighbour.score <= neighbour.interval[1]
    auroc = compared_with_baselines(found[NEIGHBOUR], found, ClassificationResults(small_data).sample("test", "auroc"))
    assert auroc[0].score == 0.5
    assert auroc[1].score == pytest.approx(roc_auc_score(labels, np.eye(3)[nearest], multi_class="ovr"))


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_a_model_is_better_worse_or_neither(small_data, metric):
    sample = ClassificationResults(small_data).sample("test", metric)
    right = np.eye(3)[sample.labels] * 0.8 + 0.2 / 3
    wrong = np.eye(3)[(sample.labels + 1) % 3] * 0.8 + 0.2 / 3
    others = {MAJORITY: wrong, NEIGHBOUR: right}
    better, same = compared_with_baselines(right, others, sample)
    assert (better.beaten, same.beaten) == (True, None)
    assert same.p_value == 1
    assert compared_with_baselines(wrong, others, sample)[1].beaten is False
    assert verdict([better, same]).startswith(f"The model is better than the {MAJORITY} (p = ")
    assert f"but not shown to be better than the {NEIGHBOUR} (p = 1)" in verdict([better, same])


def test_few_groups_are_not_tested(small_data):
    sample = ClassificationResults(small_data).sample("test", "accuracy")
    few = dataclasses.replace(sample, groups=np.arange(len(sample.labels)) % 4)
    (one,) = compared_with_baselines(np.eye(3)[few.labels], {MAJORITY: np.eye(3)[few.labels]}, few)
    assert one.p_value is one.beaten is None
    assert "(too few groups to test)" in verdict([one])


def test_an_undefined_metric_is_not_called_too_few_groups():
    generator = np.random.default_rng(0)
    model, other = generator.dirichlet([2, 1], 60), generator.dirichlet([2, 1], 60)
    sample = Sample(np.zeros(60, dtype=np.int64), np.arange(60) // 2, ("well", "ill"), "auroc", "well")
    (one,) = compared_with_baselines(model, {NEIGHBOUR: other}, sample)
    assert np.isnan(one.score) and one.p_value is one.interval is None
    assert f"not shown to be better than the {NEIGHBOUR} (not tested: the metric is undefined)" in verdict([one])
