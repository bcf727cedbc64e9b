import numpy as np
import pytest

from analysis.ensembles.rules import mean
from analysis.statistics.cross_fitting import cross_fitted, group_folds
from analysis.statistics.resampling import Sample
from tests.analysis.samples import NAMES, drawn, lesion_slices
from trainables.core.serving.combining.combine import Combination


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_are_spread(seed):
    _, sample = drawn(images=300, groups=120, seed=seed)
    folds = group_folds(sample)
    for group in sample.members:
        assert len(set(folds[group])) == 1
    shares = np.array([[np.mean(sample.labels[folds == fold] == label) for label in range(3)] for fold in range(5)])
    overall = [np.mean(sample.labels == label) for label in range(3)]
    assert np.abs(shares - overall).max() < 0.15
    of_rarest = [len(np.unique(sample.groups[(folds == fold) & (sample.labels == 2)])) for fold in range(5)]
    assert np.ptp(of_rarest) <= 1
    assert np.ptp(np.bincount(folds, minlength=5)) < 30


@pytest.mark.parametrize(
    ("labels", "groups"),
    [([0, 1] * 4, range(8)), ([0] * 12, range(12)), ([0] * 11 + [1], range(12)), ([0, 1] * 10, [0, 1] * 10)],
)
def test_too_few_groups_or_classes_are_not_divided(labels, groups):
    assert group_folds(Sample(np.array(labels), np.array(groups), NAMES, "accuracy")) is None


@pytest.mark.parametrize(("with_lesion", "spread"), [(40, 8), (60, 12)])
def test_a_class_of_few_images_in_every_group_is_spread_over_the_folds(with_lesion, spread):
    """Slices of 60 patients, of whom 40 or all have lesions in 4 of 20; most slices of each are healthy."""
    labels, patients = lesion_slices(with_lesion)
    folds = group_folds(Sample(labels, patients, ("healthy", "lesion"), "auroc", "healthy"))
    assert [len(np.unique(patients[(folds == fold) & (labels == 1)])) for fold in range(5)] == [spread] * 5


def test_no_image_is_predicted_by_a_rule_fitted_to_its_group():
    probabilities, sample = drawn(images=100, groups=30)
    folds = group_folds(sample)
    fitted_groups = []

    def spy(probabilities, sample):
        fitted_groups.append(set(sample.groups))
        return Combination.of(np.ones(len(probabilities)))

    combined = cross_fitted(spy, probabilities, sample, folds)
    for fold, groups in enumerate(fitted_groups):
        assert not groups & set(sample.groups[folds == fold])
    np.testing.assert_allclose(combined, mean(probabilities, sample).apply(probabilities))
