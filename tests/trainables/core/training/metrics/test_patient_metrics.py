import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    recall_score,
    roc_auc_score,
)

from trainables.core.errors import DataError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.training.cross_validation import OutOfFold
from trainables.core.training.fit import fit
from trainables.core.training.metrics.patient_metrics import (
    check_patient_label_objective,
    check_patient_objective,
    patient_label_metrics,
    patient_metrics,
)

NAMES = ("few", "many", "some")


def with_patients(data):
    """Up to four images of one grade in each patient; patients are numbered backwards."""
    order = np.lexsort((np.arange(len(data.labels)), data.labels))
    patients = np.empty(len(order), dtype=np.int64)
    patients[order] = 1000 - (100 * data.labels[order] + np.arange(len(order)) // 4)
    return dataclasses.replace(data, patients=patients, ordered=True)


def expected_metrics(probabilities, labels, patients):
    """scikit-learn's figures of the mean probabilities of each patient."""
    of_patients = pd.DataFrame(probabilities.astype(np.float64)).groupby(patients).mean().to_numpy()
    of_patients = of_patients / of_patients.sum(axis=1, keepdims=True)  # float32 sums are not exactly 1
    truth = pd.Series(labels).groupby(patients).first().to_numpy()
    predicted = of_patients.argmax(axis=1)
    recalls = recall_score(truth, predicted, average=None, labels=range(3), zero_division=0)
    return {
        "patient_balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "patient_auroc": roc_auc_score(truth, of_patients, multi_class="ovr", labels=range(3)),
        "patient_quadratic_weighted_kappa": cohen_kappa_score(truth, predicted, labels=range(3), weights="quadratic"),
        "patient_mean_absolute_error": mean_absolute_error(truth, predicted),
        "patient_log_loss": log_loss(truth, of_patients, labels=range(3)),
        **{f"patient_recall/{name}": recall for name, recall in zip(NAMES, recalls, strict=True)},
    }


def test_each_epoch_scores_the_patients_of_tune_as_scikit_learn_does(config, small_data):
    data = with_patients(small_data)
    chosen, tune = config(epochs=1), data.splits["tune"]
    (epoch,) = fit(chosen, data)
    model = trained_classifier(
        Checkpoint(epoch.state, chosen, data.class_names, data.pixel_format, {}), torch.device("cpu")
    )
    probabilities = predict_probabilities(model, data.images(32), tune)
    for name, value in expected_metrics(probabilities, data.labels[tune], data.patients[tune]).items():
        assert epoch.metrics[f"tune/{name}"] == pytest.approx(value, abs=1e-5), name
    assert not any(name.startswith("train/patient_") for name in epoch.metrics)


def test_without_patients_there_are_no_metrics_of_patients(config, small_data):
    (epoch,) = fit(config(epochs=1), small_data)
    assert not any("patient" in name for name in epoch.metrics)


def test_out_of_fold_predictions_are_scored_by_patient(folded_data):
    data = with_patients(folded_data)
    images = np.concatenate(data.folds)
    pooled = OutOfFold(images, np.random.default_rng(0).dirichlet(np.ones(3), len(images)).astype(np.float32))
    metrics = pooled.metrics(data)
    for name, value in expected_metrics(pooled.probabilities, data.labels[images], data.patients[images]).items():
        assert metrics[name] == pytest.approx(value, abs=1e-6), name
    assert "balanced_accuracy" in metrics


def test_patients_without_a_label_are_left_out():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    metrics = patient_metrics(probabilities, np.array([0, 1, 1, 1]), np.array([0, 0, 1, 2]), ("a", "b"))
    assert (metrics["patient_accuracy"], metrics["patient_recall/b"]) == (1.0, 1.0)
    assert "patient_recall/a" not in metrics
    assert patient_metrics(probabilities, np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]), ("a", "b")) == {}


@pytest.mark.parametrize(
    ("metric", "change", "message"),
    [
        ("patient_accuracy", lambda data: dataclasses.replace(data, patients=None), "give --groups, --group-column"),
        (
            "patient_accuracy",
            lambda data: dataclasses.replace(data, patients=np.zeros(len(data.labels), dtype=np.int64)),
            "all in one of the splits have several",
        ),
        ("patient_speed", lambda data: data, "must be one of accuracy, .* but got 'speed'"),
        ("patient_clinical", lambda data: data, "needs a healthy class"),
    ],
)
def test_a_metric_of_patients_that_cannot_be_computed_is_refused(small_data, metric, change, message):
    data = with_patients(small_data)
    check_patient_objective("patient_accuracy", data, data.splits["tune"])
    with pytest.raises(DataError, match=message):
        check_patient_objective(metric, change(data), data.splits["tune"])


def test_patients_with_labels_are_scored_as_scikit_learn_scores_their_means(labelled_data):
    """A patient has the labels of any image."""
    data, rows = labelled_data, labelled_data.splits["fit"]
    probabilities = np.random.default_rng(0).random((len(rows), 3))
    patients = data.patients[rows]
    metrics = patient_label_metrics(probabilities, data.labels[rows], patients, data.class_names)
    means = pd.DataFrame(probabilities).groupby(patients).mean().to_numpy()
    truth = pd.DataFrame(data.labels[rows]).groupby(patients).max().to_numpy()
    assert metrics["patient_auroc"] == pytest.approx(roc_auc_score(truth, means))
    assert metrics["patient_macro_f1"] == pytest.approx(f1_score(truth, means >= 0.5, average="macro"))
    assert patient_label_metrics(probabilities, data.labels[rows], None, data.class_names) == {}


def test_each_epoch_scores_the_patients_with_labels(config, labelled_data):
    (epoch,) = fit(config(task="multi_label", epochs=1), labelled_data)
    assert {"tune/auroc", "tune/patient_auroc"} <= epoch.metrics.keys()
    assert not any(name.startswith("train/patient_") for name in epoch.metrics)
    check_patient_label_objective("patient_auroc", labelled_data, labelled_data.splits["tune"])
    with pytest.raises(DataError, match="needs patients with several images"):
        unknown = dataclasses.replace(labelled_data, patients=None)
        check_patient_label_objective("patient_auroc", unknown, labelled_data.splits["tune"])
    with pytest.raises(DataError, match="must be one of auroc, .* but got 'speed'"):
        check_patient_label_objective("patient_speed", labelled_data, labelled_data.splits["tune"])
