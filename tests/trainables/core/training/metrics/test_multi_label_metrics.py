import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from trainables.core.errors import DataError
from trainables.core.training.metrics.multi_label_metrics import (
    check_label_objective,
    multi_label_metrics,
    resampled_multi_label_metrics,
)

NAMES = ("effusion", "mass", "nodule")


def drawn(images=80, seed=0):
    generator = np.random.default_rng(seed)
    targets = (generator.random((images, 3)) < [0.5, 0.2, 0.1]).astype(np.int64)
    # few distinct probabilities, so that there are ties
    return np.round(0.7 * generator.random((images, 3)) + 0.3 * targets, 1).astype(np.float32), targets


def test_metrics_are_scikit_learns():
    probabilities, targets = drawn()
    metrics, decided = multi_label_metrics(probabilities, targets, NAMES), probabilities >= 0.5
    expected = {
        "auroc": roc_auc_score(targets, probabilities, average="macro"),
        "average_precision": average_precision_score(targets, probabilities, average="macro"),
        "macro_f1": f1_score(targets, decided, average="macro"),
        "log_loss": np.mean([log_loss(*pair, labels=[0, 1]) for pair in zip(targets.T, probabilities.T, strict=True)]),
    }
    for label, name in enumerate(NAMES):
        pair = targets[:, label], decided[:, label]
        expected |= {
            f"auroc/{name}": roc_auc_score(targets[:, label], probabilities[:, label]),
            f"average_precision/{name}": average_precision_score(targets[:, label], probabilities[:, label]),
            f"precision/{name}": precision_score(*pair),
            f"recall/{name}": recall_score(*pair),
            f"f1/{name}": f1_score(*pair),
        }
    assert metrics.keys() == expected.keys()
    assert metrics == pytest.approx(expected, rel=1e-6)
    assert multi_label_metrics(probabilities, targets, NAMES, "auroc") == {"auroc": metrics["auroc"]}


def test_given_decisions_replace_the_threshold():
    probabilities, targets = drawn()
    decisions = np.random.default_rng(1).integers(0, 2, targets.shape)
    metrics = multi_label_metrics(np.hstack([probabilities, decisions]), targets, NAMES)
    assert metrics["macro_f1"] == pytest.approx(f1_score(targets, decisions, average="macro"))
    assert metrics["auroc"] == multi_label_metrics(probabilities, targets, NAMES)["auroc"]


def test_a_resample_scores_like_its_images():
    probabilities, targets = drawn()
    draws = np.random.default_rng(2).multinomial(len(targets), np.full(len(targets), 1 / len(targets)), size=5)
    resampled = resampled_multi_label_metrics(probabilities, targets, NAMES, draws)
    for row, counts in enumerate(draws):
        images = np.repeat(np.arange(len(targets)), counts)
        expected = multi_label_metrics(probabilities[images], targets[images], NAMES)
        assert {name: values[row] for name, values in resampled.items()} == pytest.approx(expected)


def test_averages_leave_out_labels_that_do_not_define_them():
    probabilities, targets = drawn()
    targets[:, 1], targets[:, 2] = 0, 1
    metrics = multi_label_metrics(probabilities, targets, NAMES)
    assert metrics["auroc"] == metrics["auroc/effusion"] == roc_auc_score(targets[:, 0], probabilities[:, 0])
    for average, name in (("average_precision", "average_precision"), ("macro_f1", "f1")):
        assert metrics[average] == pytest.approx(metrics[f"{name}/effusion"])
    assert {name for name in metrics if name.endswith(("/mass", "/nodule"))} == {"recall/nodule"}
    assert metrics["recall/nodule"] == np.mean(probabilities[:, 2] >= 0.5)
    none = multi_label_metrics(probabilities, np.zeros_like(targets), NAMES)
    assert none.keys() == {"auroc", "average_precision", "macro_f1", "log_loss"}
    assert np.isnan([none["auroc"], none["average_precision"], none["macro_f1"]]).all()


@pytest.mark.parametrize(
    ("metric", "present", "message"),
    [
        ("loss", 1, "must be comparable between trials"),
        ("accuracy", 1, "must be one of auroc, average_precision, macro_f1, log_loss, .*but got 'accuracy'"),
        ("auroc", 0, "'auroc' is undefined on `tune`: it needs a label that some, but not all images have"),
    ],
)
def test_objectives_that_cannot_steer_a_search_are_refused(metric, present, message):
    targets = drawn()[1] * present
    check_label_objective("log_loss", targets, NAMES)
    with pytest.raises(DataError, match=message):
        check_label_objective(metric, targets, NAMES)
