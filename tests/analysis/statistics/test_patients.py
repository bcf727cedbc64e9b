import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, log_loss

from analysis.statistics.intervals.closed_forms import proportion_interval
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import corrected_score, paired_scores, permutation_test
from trainables.core.serving.combining.patient_rule import PatientRule

NAMES = ("a", "b", "c")


def made_up(patients=40, metric="patient_balanced_accuracy", models=2, skill=1.0):
    """Predictions (models, images, 3) of one to four images of each patient, whose numbers are not in order."""
    generator = np.random.default_rng(0)
    numbers, labels = generator.permutation(patients), np.arange(patients) % 3
    images = np.repeat(np.arange(patients), generator.integers(1, 5, patients))
    of_patient = generator.normal(size=(models, patients, 3)) + skill * np.eye(3)[labels]
    odds = np.exp(of_patient[:, images] + generator.normal(size=(models, len(images), 3)))
    groups = images // 2  # as if two patients shared an equal image
    sample = PatientSample(labels[images], groups, NAMES, metric, patients=numbers[images])
    return odds / odds.sum(axis=2, keepdims=True), sample


def expected(probabilities, sample):
    """Return the (P, C) means and the labels of the patients, as pandas computes them."""
    means = pd.DataFrame(probabilities).groupby(sample.patients).mean()
    return means.to_numpy(), pd.Series(sample.labels).groupby(sample.patients).first().to_numpy()


@pytest.mark.parametrize("metric", ["patient_balanced_accuracy", "patient_log_loss"])
def test_scores_of_patients_and_images_are_scikit_learns(metric):
    (probabilities, _), sample = made_up(metric=metric)
    means, labels = expected(probabilities, sample)
    scores = sample.scores(probabilities)
    assert scores["patient_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, means.argmax(axis=1)))
    assert scores["patient_log_loss"] == pytest.approx(log_loss(labels, means))
    assert scores["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(sample.labels, probabilities.argmax(axis=1))
    )
    assert sample.score(probabilities) == scores[metric]
    assert list(sample.scores(probabilities, metric)) == [metric]
    assert sample.score(probabilities) != replace(sample, metric=metric.removeprefix("patient_")).score(probabilities)


def test_the_grades_of_patients_are_scored_as_scikit_learn_does():
    (probabilities, _), sample = made_up(metric="patient_quadratic_weighted_kappa")
    means, labels = expected(probabilities, sample)
    kappa = cohen_kappa_score(labels, means.argmax(axis=1), weights="quadratic")
    assert replace(sample, ordered=True).score(probabilities) == pytest.approx(kappa)


def test_the_sample_of_some_images_has_their_patients():
    (probabilities, _), sample = made_up()
    some = np.flatnonzero(sample.groups < 12)
    means, labels = expected(probabilities[some], sample.take(some))
    assert sample.take(some).score(probabilities[some]) == balanced_accuracy_score(labels, means.argmax(axis=1))
    assert len(sample.take(some).by_patient.labels) == 24


def test_resamples_draw_whole_groups_of_patients():
    """Against a loop that repeats the rows of the drawn groups."""
    (probabilities, _), sample = made_up()
    means, labels = expected(probabilities, sample)
    groups = pd.Series(sample.groups).groupby(sample.patients).first().to_numpy()
    patients = sample.by_patient
    np.testing.assert_array_equal(patients.groups, groups)
    drawn = []
    for positions in patients.resampled_groups(100):
        rows = np.concatenate(
            [np.flatnonzero(groups == patients.groups[patients.members[one][0]]) for one in positions]
        )
        drawn.append(balanced_accuracy_score(labels[rows], means[rows].argmax(axis=1)))
    np.testing.assert_allclose(paired_scores([probabilities], sample, 100)[:, 0], drawn)
    right = means.argmax(axis=1) == labels
    expected_interval = proportion_interval(right, patients.groups)
    assert intervals(sample.combined(probabilities), patients, count=20)["accuracy"] == expected_interval


def test_the_permutation_test_exchanges_the_patients_of_whole_groups():
    models, sample = made_up(patients=16)
    means, labels = zip(*(expected(model, sample) for model in models), strict=True)
    groups = sample.by_patient.groups

    def difference(swapped):
        pairs = [np.where(swapped[groups][:, None], means[1 - side], means[side]) for side in (0, 1)]
        return np.subtract(*(balanced_accuracy_score(labels[0], pair.argmax(axis=1)) for pair in pairs))

    observed = abs(difference(np.zeros(8, dtype=bool)))
    exchanges = [difference(np.array(swapped)) for swapped in itertools.product((False, True), repeat=8)]
    assert permutation_test(*models, sample) == np.mean(np.abs(exchanges) >= observed - 1e-12)


def test_the_corrected_score_is_that_of_the_patients():
    models, sample = made_up()
    of_patients = [expected(model, sample)[0] for model in models]
    assert corrected_score(models, sample, count=50) == corrected_score(of_patients, sample.by_patient, count=50)


def test_patients_without_a_label_are_left_out():
    labels, patients = np.array([0, 1, 1, 2, 2]), np.array([4, 4, 1, 0, 0])
    sample = PatientSample(labels, patients, NAMES, "accuracy", patients=patients)
    np.testing.assert_array_equal(sample.by_patient.labels, [2, 1])
    healthy = replace(sample, healthy="a", rule=PatientRule("any-lesion", 0))
    np.testing.assert_array_equal(healthy.by_patient.labels, [2, 1, 1])
    certain = np.eye(3)[labels]
    assert healthy.scores(certain)["patient_accuracy"] == 1.0
    np.testing.assert_array_equal(healthy.combined(certain), np.eye(3)[[2, 1, 1]])
    assert "patient_accuracy" not in sample.take(np.array([0, 1])).scores(certain[:2])
