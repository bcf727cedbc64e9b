import itertools

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import accuracy_score

from analysis.ensembles.tasks.label_samples import LabelSample
from analysis.statistics.resampling import (
    Sample,
    best_position,
    corrected_score,
    paired_scores,
    permutation_test,
)
from tests.analysis.samples import NAMES, drawn


def test_resamples_are_whole_groups_within_their_class():
    _, sample = drawn(images=120, groups=40)
    for positions in sample.resampled_groups(20):
        assert len(positions) == len(sample.members)
        assert sorted(sample.group_classes[positions]) == sorted(sample.group_classes)
        images = np.concatenate([sample.members[position] for position in positions])
        counts = np.bincount(images, minlength=120)
        for group in sample.members:
            assert len(set(counts[group])) == 1


def test_groups_are_drawn_as_numpys_choice_draws_them():
    _, sample = drawn(images=120, groups=40)
    generator = np.random.default_rng([3, 11])
    by_class = [np.flatnonzero(sample.group_classes == label) for label in np.unique(sample.group_classes)]
    for positions in sample.resampled_groups(20, seed=3):
        expected = np.concatenate([generator.choice(groups, len(groups)) for groups in by_class])
        np.testing.assert_array_equal(positions, expected)


def test_the_class_of_a_group_is_the_one_that_fewest_groups_have():
    sample = Sample(np.array([0, 0, 0, 1, 2, 0, 0, 2]), np.array([7, 7, 7, 7, 3, 3, 3, 5]), NAMES, "accuracy")
    assert dict(zip([3, 5, 7], sample.group_classes.tolist(), strict=True)) == {3: 0, 5: 2, 7: 1}
    assert [sample.groups_with(label) for label in range(3)] == [2, 1, 2]


def brute_force_permutation(first, second, sample):
    observed = abs(sample.score(first) - sample.score(second))
    rare = total = 0
    groups = np.unique(sample.groups)
    for exchanged in itertools.product([False, True], repeat=len(groups)):
        one, other = first.copy(), second.copy()
        for group, swap in zip(groups, exchanged, strict=True):
            if swap:
                images = sample.groups == group
                one[images], other[images] = second[images], first[images]
        rare += abs(sample.score(one) - sample.score(other)) >= observed - 1e-12
        total += 1
    return rare / total


@pytest.mark.parametrize("groups", [6, 9])
def test_the_permutation_test_against_brute_force(groups):
    probabilities, sample = drawn(count=2, images=60, groups=groups, skill=2, seed=4)
    assert permutation_test(*probabilities, sample) == brute_force_permutation(*probabilities, sample)


def test_the_permutation_test_against_the_sign_test():
    """Single images and accuracy: exchanging is flipping the signs of the images on which the two differ."""
    generator = np.random.default_rng(3)
    labels = np.zeros(60, dtype=np.int64)
    labels[30:] = 1
    first, second = (np.eye(2)[np.where(generator.random(60) < skill, labels, 1 - labels)] for skill in (0.9, 0.65))
    sample = Sample(labels, np.arange(60), ("a", "b"), "accuracy")
    gains = (first.argmax(1) == labels).astype(int) - (second.argmax(1) == labels)
    expected = stats.binomtest(int((gains > 0).sum()), int(np.count_nonzero(gains))).pvalue
    assert permutation_test(first, second, sample) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("metric", ["auroc", "average_precision", "sensitivity_at_95_specificity"])
def test_a_test_of_ranks_does_not_depend_on_calibration(metric):
    generator = np.random.default_rng(1)
    labels = (generator.random(60) < 0.3).astype(int)
    weak, strong = (generator.normal(size=60) + skill * labels for skill in (0.3, 1.5))
    sample = Sample(labels, np.arange(60) % 10, ("well", "ill"), metric, "well")

    def tested(shift):
        ill = special.expit(np.stack([weak, strong + shift]))
        return permutation_test(*np.stack([1 - ill, ill], axis=2), sample)

    assert tested(0) == tested(-4)


def test_ranks_are_those_within_a_label():
    probabilities, sample = drawn(count=2, images=60, groups=10, skill=2)
    labels = LabelSample(np.eye(3, dtype=np.int64)[sample.labels], sample.groups, NAMES, "auroc")
    scaled = probabilities * np.array([1, 0.1]).reshape(2, 1, 1)
    decided = np.concatenate([scaled, scaled >= 0.05], axis=2)
    assert permutation_test(*decided, labels) == permutation_test(*probabilities, labels)


def test_p_values_of_equal_models_are_uniform():
    values = []
    for seed in range(60):
        probabilities, sample = drawn(count=2, images=40, groups=8, skill=0, seed=seed, metric="log_loss")
        values.append(permutation_test(*probabilities, sample))
    assert stats.kstest(values, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("groups", "tested"), [(5, False), (6, True)])
def test_there_is_no_test_under_six_groups(groups, tested):
    probabilities, sample = drawn(count=2)
    sample = Sample(sample.labels, np.arange(90) % groups, NAMES, "accuracy")
    assert (permutation_test(*probabilities, sample) is not None) is tested


def test_the_corrected_score_against_a_loop():
    probabilities, sample = drawn(count=6, images=120, skill=0.5, seed=7, metric="accuracy")
    ours = corrected_score(list(probabilities), sample, count=600)
    generator = np.random.default_rng(8)
    scores = []
    for _ in range(600):
        bag = np.concatenate(
            [
                generator.choice(np.flatnonzero(sample.labels == label), (sample.labels == label).sum())
                for label in range(3)
            ]
        )
        out = np.setdiff1d(np.arange(120), bag)
        inside = [accuracy_score(sample.labels[bag], member[bag].argmax(1)) for member in probabilities]
        best = int(np.argmax(inside))
        scores.append(accuracy_score(sample.labels[out], probabilities[best][out].argmax(1)))
    assert ours == pytest.approx(np.mean(scores), abs=0.01)


def test_the_corrected_score_of_noise_is_chance_where_the_best_score_is_not():
    corrected, best = [], []
    for seed in range(30):
        probabilities, sample = drawn(count=20, images=150, skill=0, seed=seed)
        corrected.append(corrected_score(list(probabilities), sample, count=40))
        best.append(max(sample.score(member) for member in probabilities))
    assert np.mean(best) > 0.41
    assert np.mean(corrected) == pytest.approx(1 / 3, abs=0.03)


def test_the_corrected_score_of_one_configuration_is_its_score():
    probabilities, sample = drawn(count=1, images=300, skill=2, metric="accuracy")
    assert corrected_score(list(probabilities), sample, count=400) == pytest.approx(
        sample.score(probabilities[0]), abs=0.01
    )


def test_where_a_class_is_never_left_out_there_is_no_corrected_score():
    labels = np.array([0, 0, 1, 1, 1, 1])
    sample = Sample(labels, np.array([0, 0, 1, 2, 3, 4]), ("a", "b"), "accuracy")
    assert np.isnan(corrected_score([np.eye(2)[labels]], sample, count=20))
    sample = Sample(labels, np.array([0, 5, 1, 2, 3, 4]), ("a", "b"), "accuracy")
    assert corrected_score([np.eye(2)[labels]], sample, count=20) == 1


def test_everything_is_seeded():
    probabilities, sample = drawn(groups=30)
    for function in (
        lambda seed: paired_scores(list(probabilities), sample, 5, seed).tolist(),
        lambda seed: permutation_test(probabilities[0], probabilities[1], sample, seed),
        lambda seed: corrected_score(list(probabilities), sample, None, 20, seed),
    ):
        assert function(0) == function(0)
    assert (
        paired_scores(list(probabilities), sample, 5, 0).tolist()
        != paired_scores(list(probabilities), sample, 5, 1).tolist()
    )


def test_best_position_respects_the_direction_and_nan():
    assert best_position([0.2, 0.9, 0.9], "accuracy") == 1
    assert best_position([np.nan, 0.9, 0.2], "log_loss") == 2
    assert best_position([np.nan, np.nan], "auroc") == 0


def test_a_metric_of_an_absent_class_is_nan():
    probabilities, _ = drawn(count=1)
    sample = Sample(np.zeros(90, dtype=np.int64), np.arange(90), NAMES, "recall/b")
    assert np.isnan(sample.score(probabilities[0]))
