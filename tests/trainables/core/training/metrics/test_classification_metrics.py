import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.preprocessing import label_binarize

from trainables.core.errors import DataError
from trainables.core.training.metrics.classification_metrics import (
    Resamples,
    check_objective,
    class_keys,
    classification_metrics,
    resampled_metrics,
)

NAMES = ("a", "b", "c", "d")


def scored(seed: int, present: tuple[int, ...] = (0, 1, 2, 3), count: int = 200):
    generator = np.random.default_rng(seed)
    targets = generator.choice(present, count)
    targets[: len(present)] = present
    logits = generator.normal(size=(count, 4)) + 1.5 * np.eye(4)[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), targets


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_scikit_learns(seed):
    probabilities, targets = scored(seed)
    ours, predicted = classification_metrics(probabilities, targets, NAMES), probabilities.argmax(1)
    one_hot = label_binarize(targets, classes=range(4))
    expected = {
        "accuracy": reference.accuracy_score(targets, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(targets, predicted),
        "log_loss": reference.log_loss(targets, probabilities.astype(np.float64)),
        "macro_precision": reference.precision_score(targets, predicted, average="macro"),
        "macro_recall": reference.recall_score(targets, predicted, average="macro"),
        "macro_f1": reference.f1_score(targets, predicted, average="macro"),
        "average_precision": reference.average_precision_score(one_hot, probabilities, average="macro"),
        "auroc": reference.roc_auc_score(one_hot, probabilities, average="macro"),
    }
    per_class = {
        "precision": reference.precision_score(targets, predicted, average=None),
        "recall": reference.recall_score(targets, predicted, average=None),
        "f1": reference.f1_score(targets, predicted, average=None),
    }
    expected |= {f"{kind}/{NAMES[i]}": value for kind, values in per_class.items() for i, value in enumerate(values)}
    assert ours == pytest.approx(expected, rel=1e-6)


def test_resampled_metrics_equal_the_metrics_of_the_drawn_images():
    probabilities, targets = scored(3, count=30)
    probabilities = probabilities.round(1)  # so that scores are equal
    draws = np.random.default_rng(4).poisson(0.3, (40, 30))
    draws[0, targets != 2] = 0  # only one class
    draws[:2, targets == 2] = 1
    resampled = resampled_metrics(Resamples(probabilities, targets, draws), NAMES, healthy="c", ordered=True)
    for row, drawn in enumerate(draws):
        images = np.repeat(np.arange(30), drawn)
        expected = classification_metrics(probabilities[images], targets[images], NAMES, healthy="c", ordered=True)
        for name, values in resampled.items():
            assert values[row] == pytest.approx(expected.get(name, np.nan), nan_ok=True), (name, row)


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 3), (1, 2, 3)])
def test_metrics_of_grades_equal_scikit_learns(present):
    probabilities, targets = scored(2, present)
    ours, predicted = classification_metrics(probabilities, targets, NAMES, ordered=True), probabilities.argmax(1)
    kappa = reference.cohen_kappa_score(targets, predicted, labels=range(4), weights="quadratic")
    assert ours["quadratic_weighted_kappa"] == pytest.approx(kappa)
    assert ours["mean_absolute_error"] == pytest.approx(reference.mean_absolute_error(targets, predicted))
    without = classification_metrics(probabilities, targets, NAMES)
    assert ours.keys() - without.keys() == {"quadratic_weighted_kappa", "mean_absolute_error"}


def test_kappa_is_undefined_without_any_disagreement_by_chance():
    once = np.ones((1, 5), dtype=np.int64)
    same = resampled_metrics(Resamples(np.eye(4)[np.full(5, 2)], np.full(5, 2), once), NAMES, ordered=True)
    assert np.isnan(same["quadratic_weighted_kappa"]) and same["mean_absolute_error"] == 0


@pytest.mark.parametrize("name", ["quadratic_weighted_kappa", "mean_absolute_error"])
def test_metrics_of_grades_need_an_order(name):
    targets = np.array([0, 1, 2, 3])
    check_objective(name, targets, NAMES, ordered=True)
    with pytest.raises(DataError, match=f"the metric {name} needs grades, but a, b, c, d have no known order"):
        check_objective(name, targets, NAMES)


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 2, 3), (1, 2, 3)])
def test_clinical_averages_the_precision_of_the_healthy_and_the_recalls_of_the_ill(present):
    probabilities, targets = scored(1, present)
    ours, predicted = classification_metrics(probabilities, targets, NAMES, healthy="c"), probabilities.argmax(1)
    precision = reference.precision_score(targets, predicted, labels=[2], average=None)
    ill = [label for label in present if label != 2]
    recalls = reference.recall_score(targets, predicted, labels=ill, average=None)
    assert ours["clinical"] == pytest.approx(np.mean([*precision, *recalls]))
    assert "clinical" not in classification_metrics(probabilities, targets, NAMES)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [1, 8])  # with and without ties
def test_sensitivity_at_95_specificity_is_read_from_the_roc_curve(seed, decimals):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, 100)
    ill = np.clip(np.round(generator.normal(0.4 + 0.2 * targets, 0.2), decimals), 0, 1)
    false, true, _ = reference.roc_curve(targets, ill, drop_intermediate=False)
    ours = classification_metrics(np.stack([1 - ill, ill], axis=1), targets, ("well", "ill"), healthy="well")
    assert ours["sensitivity_at_95_specificity"] == pytest.approx(true[false <= 0.05].max())
    swapped = classification_metrics(np.stack([ill, 1 - ill], axis=1), 1 - targets, ("ill", "well"), healthy="well")
    assert swapped["sensitivity_at_95_specificity"] == ours["sensitivity_at_95_specificity"]


def test_sensitivity_at_95_specificity_allows_one_of_twenty_and_needs_both_classes():
    targets, ill = (np.arange(22) >= 20).astype(int), np.array([*np.linspace(0, 0.5, 19), 0.9, 0.8, 0.95])

    def sensitivity(images: slice) -> float:
        probabilities = np.stack([1 - ill, ill], axis=1)[images]
        metrics = classification_metrics(probabilities, targets[images], ("well", "ill"), healthy="well")
        return metrics["sensitivity_at_95_specificity"]

    assert sensitivity(slice(0, 22)) == 1.0
    assert sensitivity(slice(1, 22)) == 0.5  # one of nineteen is too many
    assert np.isnan(sensitivity(slice(0, 20)))
    assert "sensitivity_at_95_specificity" not in classification_metrics(*scored(0), NAMES, healthy="a")


def test_clinical_needs_a_healthy_class():
    targets = np.array([0, 1, 2, 3])
    check_objective("clinical", targets, NAMES, healthy="c")
    with pytest.raises(DataError, match="clinical needs a healthy class, but the space names none"):
        check_objective("clinical", targets, NAMES)


def test_averages_run_over_present_classes():
    probabilities, targets = scored(0, present=(0, 2, 3))
    ours, predicted = classification_metrics(probabilities, targets, NAMES), probabilities.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about predictions of an absent class
        assert ours["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(targets, predicted))
        f1 = reference.f1_score(targets, predicted, labels=[0, 2, 3], average="macro")
    assert ours["macro_f1"] == pytest.approx(f1)
    auroc = [reference.roc_auc_score(targets == index, probabilities[:, index]) for index in (0, 2, 3)]
    assert ours["auroc"] == pytest.approx(np.mean(auroc))
    assert "recall/b" not in ours


@pytest.mark.parametrize("healthy", ["b", "c"])
def test_with_a_single_class_only_figures_that_can_be_wrong_are_defined(healthy):
    probabilities, targets = scored(0, present=(1,))
    ours = classification_metrics(probabilities, targets, NAMES, healthy=healthy, ordered=True)
    defined = {name: value for name, value in ours.items() if not np.isnan(value)}
    assert defined.keys() == {"accuracy", "recall/b", "log_loss", "mean_absolute_error"}
    assert defined["accuracy"] == defined["recall/b"] == np.mean(probabilities.argmax(axis=1) == 1)


def test_no_images_are_an_error():
    with pytest.raises(DataError, match="at least one image"):
        classification_metrics(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), NAMES)


@given(st.integers(0, 10_000), st.sets(st.integers(0, 3), min_size=1), st.integers(4, 40))
def test_bounds_hold_for_any_labels(seed, present, count):
    ours = classification_metrics(*scored(seed, tuple(present), count), NAMES)
    bounded = [value for name, value in ours.items() if name != "log_loss" and not np.isnan(value)]
    assert all(0 <= value <= 1 + 1e-12 for value in bounded)


def test_objectives_are_checked_before_training():
    labels = np.array([0, 0, 0])
    with pytest.raises(DataError, match="'auroc' is undefined on `tune`"):
        check_objective("auroc", labels, NAMES)
    with pytest.raises(DataError, match="the metric must be one of accuracy, .*, but got 'acc'"):
        check_objective("acc", labels, NAMES)
    check_objective("recall/a", labels, NAMES)
    with pytest.raises(DataError, match="choose log_loss"):
        check_objective("loss", labels, NAMES)


def test_class_keys_are_valid_and_distinct():
    names = ("<30", ">30", "≥30", "a//b", "..", "", "größer", "plain", "[red]x")
    keys = class_keys(names)
    assert keys == ("_30_0", "_30_1", "_30_2", "a__b", "class_4", "class_5", "größer", "plain", "_red_x")


def test_a_single_metric_equals_the_one_among_all():
    generator = np.random.default_rng(0)
    probabilities, targets = generator.dirichlet(np.ones(3), 60), generator.integers(0, 3, 60)
    everything = classification_metrics(probabilities, targets, ("a", "b", "c"))
    for name, value in everything.items():
        assert classification_metrics(probabilities, targets, ("a", "b", "c"), only=name)[name] == value
    two = probabilities[:, :2], targets % 2, ("a", "b")
    for name, value in classification_metrics(*two, healthy="a").items():
        assert classification_metrics(*two, only=name, healthy="a")[name] == value


@given(st.lists(st.text("a?!_01", min_size=1, max_size=4), min_size=1, max_size=8, unique=True))
@example(["a?", "a!", "a__0"])
def test_keys_of_classes_are_distinct_and_those_without_a_rival_are_the_names(names):
    keys = class_keys(tuple(names))
    assert len(set(keys)) == len(names)
    assert all(key == name for key, name in zip(keys, names, strict=True) if name.isalnum() and names.count(name) == 1)
