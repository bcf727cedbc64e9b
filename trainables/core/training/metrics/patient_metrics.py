"""Metrics of patients, each by the mean probabilities of all images."""

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.data.patient_labels import NO_LABEL, healthy_class, patient_label_sets, patient_labels
from trainables.core.errors import DataError
from trainables.core.metric_names import PATIENT
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.training.metrics.classification_metrics import check_objective, classification_metrics
from trainables.core.training.metrics.multi_label_metrics import check_label_objective, multi_label_metrics


def patient_metrics(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.int64],
    patients: NDArray[np.int64] | None,
    class_names: tuple[str, ...],
    healthy: str | None = None,
    ordered: bool = False,
) -> dict[str, float]:
    """Score the mean probabilities of each patient's images. Patients without a label are left out.

    Args:
        probabilities: (N, C) probabilities of the images, rows sum to 1.
        targets: (N,) classes of the images.
        patients: (N,) patient of each image; None if they are unknown.
        class_names: C names.
        healthy: Name of the class without a disease, if there is one.
        ordered: True if the classes are grades, in the order of ``class_names``.

    Returns:
        ``patient_...`` for each of ``classification_metrics``; nothing without patients that have a label.
    """
    if patients is None:
        return {}
    labels = patient_labels(targets, patients, healthy_class(class_names, healthy))
    labelled = labels != NO_LABEL
    if not labelled.any():
        return {}
    combined = PatientRule().apply(probabilities, patients)
    metrics = classification_metrics(
        combined[labelled], labels[labelled], class_names, healthy=healthy, ordered=ordered
    )
    return {f"{PATIENT}{name}": value for name, value in metrics.items()}


def patient_label_metrics(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.int64],
    patients: NDArray[np.int64] | None,
    class_names: tuple[str, ...],
) -> dict[str, float]:
    """Score the mean probabilities of each patient's images, who has the labels of any of them.

    Args:
        probabilities: (N, L) probabilities of the images.
        targets: (N, L) of 0 and 1.
        patients: (N,) patient of each image; None if they are unknown.
        class_names: L names.

    Returns:
        ``patient_...`` for each of ``multi_label_metrics``; nothing without patients.
    """
    if patients is None:
        return {}
    combined = PatientRule().apply(probabilities, patients)
    metrics = multi_label_metrics(combined, patient_label_sets(targets, patients), class_names)
    return {f"{PATIENT}{name}": value for name, value in metrics.items()}


def check_patient_objective(metric: str, data: Dataset, compared: NDArray[np.int64]) -> None:
    """Check that a metric of patients is defined on ``compared``, the images that trials are compared on.

    Raises:
        DataError: The metric is unknown or undefined, patients are unknown, or a split has none with a label.
    """
    patients = _known_patients(metric, data)
    healthy = healthy_class(data.class_names, data.healthy)
    for images in (data.splits[data.selection], data.splits["test"], compared):
        labels = patient_labels(data.labels[images], patients[images], healthy)
        labels = labels[labels != NO_LABEL]
        if not len(labels):
            raise DataError(
                f"the metric {metric} needs patients whose images have one label, but all in one of the splits have "
                "several: check the groups, or choose a metric of images"
            )
    check_objective(metric.removeprefix(PATIENT), labels, data.class_names, data.healthy, data.ordered)


def check_patient_label_objective(metric: str, data: Dataset, compared: NDArray[np.int64]) -> None:
    """Check that a metric of patients with labels is defined on ``compared``, the images that trials are compared on.

    Raises:
        DataError: The metric is unknown or undefined, or patients are unknown.
    """
    patients = _known_patients(metric, data)
    labels = patient_label_sets(data.labels[compared], patients[compared])
    check_label_objective(metric.removeprefix(PATIENT), labels, data.class_names)


def _known_patients(metric: str, data: Dataset) -> NDArray[np.int64]:
    if data.patients is None:
        raise DataError(
            f"the metric {metric} needs patients with several images, but {data.place} names none: give --groups, "
            "--group-column or --group-pattern, or choose a metric of images"
        )
    return data.patients
