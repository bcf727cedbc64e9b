import dataclasses

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import f1_score, roc_auc_score

from analysis.ensembles.compare_rules import compare
from analysis.ensembles.label_rules import LABEL_RULES, best_thresholds, fit_label_temperatures
from analysis.ensembles.tasks.label_samples import LabelSample
from analysis.statistics.resampling import Kind
from trainables.core.errors import DataError
from trainables.core.serving.combining.combine_labels import temper_labels

NAMES = ("effusion", "mass", "nodule")


def drawn(images=240, skills=(1.0, 1.5, 0.0), seed=0, groups=None, metric="auroc"):
    """Probabilities (M, images, 3) of members with these skills, and the images."""
    generator = np.random.default_rng(seed)
    targets = (generator.random((images, 3)) < [0.5, 0.25, 0.1]).astype(np.int64)
    targets[:3], targets[3:6] = 1, 0
    signal = np.array(skills)[:, None, None] * (2 * targets - 1)
    probabilities = expit(signal + generator.normal(size=(len(skills), images, 3)) + [0, -1, -2])
    groups = np.arange(images) // 2 if groups is None else generator.integers(0, groups, images)
    return probabilities, LabelSample(targets, groups, NAMES, metric)


def test_thresholds_give_the_highest_f1_of_all_thresholds():
    (scores, *_), sample = drawn()
    scores = np.round(scores, 2)
    thresholds = best_thresholds(scores, sample.labels)
    for label in range(3):
        truth, of_label = sample.labels[:, label], scores[:, label]
        every = [f1_score(truth, of_label >= threshold) for threshold in np.unique(of_label)]
        assert f1_score(truth, of_label >= thresholds[label]) == pytest.approx(max(every))
        assert not np.isclose(of_label, thresholds[label]).any()


def test_a_label_that_never_varies_is_decided_at_a_half():
    assert best_thresholds(np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([[0, 1], [0, 1]])).tolist() == [0.5, 0.5]
    never = np.array([[0, 1], [0, 1]])
    assert fit_label_temperatures(np.full((1, 2, 2), 0.3), never).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.99999])
def test_a_separated_label_is_as_certain_as_the_number_of_images_allows(confidence):
    """A temperature at its lower bound gave probabilities such as 1e-34."""
    labels = np.repeat([1, 0], [20, 80])[:, None]
    probabilities = np.where(labels == 1, confidence, 1 - confidence)[None]
    tempered = temper_labels(probabilities, fit_label_temperatures(probabilities, labels))[0, :, 0]
    np.testing.assert_allclose(tempered[[0, -1]], [101 / 102, 1 / 102], atol=1e-4)


def test_temperatures_undo_overconfidence():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(4000, 2))
    targets = (generator.random((4000, 2)) < expit(truth)).astype(np.int64)
    fitted = fit_label_temperatures(expit(truth * [3.0, 0.5])[None], targets)
    np.testing.assert_allclose(fitted, [[3.0, 0.5]], rtol=0.15)


def test_rules_are_chosen_on_predictions_they_were_not_fitted_to():
    probabilities, sample = drawn()
    comparison = compare(probabilities, sample, known=LABEL_RULES)
    assert [one.rule for one in comparison.rules] == list(LABEL_RULES.rules)
    assert comparison.reference == "mean-scaled"
    by_rule = {one.rule: one.score for one in comparison.rules}
    assert by_rule["mean"] == pytest.approx(roc_auc_score(sample.labels, probabilities.mean(axis=0)))
    assert by_rule["greedy"] > by_rule["mean"]  # which the member without skill does not spoil
    assert comparison.figures["auroc"] == pytest.approx(by_rule[comparison.chosen])
    assert 0 < comparison.figures["macro_f1"] < 1
    forced = compare(probabilities, sample, "geometric-mean", LABEL_RULES)
    combined = expit(logit(probabilities).mean(axis=0))
    np.testing.assert_allclose(forced.combination.apply(probabilities), combined)
    np.testing.assert_allclose(forced.combination.thresholds, best_thresholds(combined, sample.labels))


def test_f1_on_select_is_at_thresholds_of_other_groups():
    """With random scores, thresholds fitted to the images that they are scored on would look too good."""
    probabilities, sample = drawn(images=60, skills=(0.0,), metric="macro_f1")
    comparison = compare(probabilities, sample, "mean", LABEL_RULES)
    decided = comparison.combination.decide(probabilities[0])
    assert comparison.score < f1_score(sample.labels, decided, average="macro")


def test_too_few_groups_are_scored_without_fitting():
    probabilities, sample = drawn(groups=6)
    comparison = compare(probabilities, sample, known=LABEL_RULES)
    assert [one.rule for one in comparison.rules] == ["mean", "geometric-mean"]
    assert comparison.chosen == "mean" and "only rules without parameters" in comparison.notes[0]
    with pytest.raises(DataError, match="must be one of mean, geometric-mean, but got 'greedy'"):
        compare(probabilities, sample, "greedy", LABEL_RULES)


def test_groups_are_resampled_by_their_rarest_label():
    _, sample = drawn()
    rare = sample.group_classes == 2
    assert rare.sum() == len(np.unique(sample.groups[sample.labels[:, 2] == 1]))
    for drawn_groups in sample.resampled_groups(20):
        assert rare[drawn_groups].sum() == rare.sum()
    mostly = dataclasses.replace(sample, labels=np.maximum(sample.labels, np.arange(240)[:, None] >= 6))
    with_it, without_it = (len(np.unique(mostly.groups[mostly.labels[:, 0] == value])) for value in (1, 0))
    assert (mostly.groups_with(0), mostly.rarer(0)) == (with_it, Kind(sample.class_names[0], without_it, False))
