import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.ensembles.rules import mean
from analysis.ensembles.tasks.label_samples import LabelSample
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


_GROUP = st.tuples(st.integers(1, 5), st.sampled_from([0, 0, 0, 0, 1, 2]))  # its images and its class


@given(groups=st.lists(_GROUP, min_size=6, max_size=16), division=st.sampled_from([(5, 10), (3, 6)]))
@example(groups=[(10, 0)] * 9 + [(4, 1), (4, 2)], division=(5, 10))
def test_two_classes_or_sets_of_labels_are_outside_every_fold(groups, division):
    """With classes 1 and 2 as labels, groups of class 0 have none."""
    sizes, classes = zip(*groups, strict=True)
    classes = np.repeat(classes, sizes)
    patients = np.repeat(np.arange(len(groups)), sizes)
    labels = np.eye(3, dtype=np.int64)[classes][:, 1:]
    samples = Sample(classes, patients, NAMES, "accuracy"), LabelSample(labels, patients, NAMES[1:], "auroc")
    for folds in (group_folds(sample, *division) for sample in samples):
        if folds is not None:
            assert all(len({*classes[folds != fold].tolist()}) > 1 for fold in range(division[0]))


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
