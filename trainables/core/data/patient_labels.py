"""Labels of patients whose images have labels of their own."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.fact import Fact

NO_LABEL = -1


def healthy_class(class_names: tuple[str, ...], healthy: str | None) -> int | None:
    """Return the number of the class without a disease, or None if there is none."""
    return None if healthy is None else class_names.index(healthy)


def patient_labels(
    labels: NDArray[np.int64], patients: NDArray[np.int64], healthy: int | None = None
) -> NDArray[np.int64]:
    """Return the class of each patient.

    It is the class of all images of the patient. With a healthy class, a patient whose images are partly healthy and
    otherwise of one class has that class. A patient with images of several other classes has no label.

    Args:
        labels: (N,) int64 classes of the images.
        patients: (N,) patient of each image.
        healthy: Class without a disease, if there is one.

    Returns:
        (P,) classes, ``NO_LABEL`` for patients without one, in the order of ``np.unique(patients)``.
    """
    found, position = np.unique(patients, return_inverse=True)
    has = np.zeros((len(found), int(labels.max(initial=0)) + 1), dtype=bool)
    has[position, labels] = True
    if healthy is not None and healthy < has.shape[1]:
        has[:, healthy] &= np.delete(has, healthy, axis=1).sum(axis=1) == 0
    return np.where(has.sum(axis=1) == 1, has.argmax(axis=1), NO_LABEL)


def patient_label_sets(labels: NDArray[np.int64], patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of each patient, who has those of any image.

    Args:
        labels: (N, L) of 0 and 1.
        patients: (N,) patient of each image.

    Returns:
        (P, L) of 0 and 1, in the order of ``np.unique(patients)``.
    """
    found, position = np.unique(patients, return_inverse=True)
    sets = np.zeros((len(found), labels.shape[1]), dtype=np.int64)
    np.maximum.at(sets, position, labels)
    return sets


def describe_mixed_patients(
    labels: NDArray[np.int64], patients: NDArray[np.int64], healthy: int | None, class_names: tuple[str, ...]
) -> list[str]:
    """Return notes on the patients whose images have different labels.

    Args:
        labels: (N,) classes or (N, L) labels of the images.
        patients: (N,) patient of each image.
        healthy: Class without a disease, if there is one.
        class_names: Names of the classes or labels.
    """
    if labels.ndim == 2:
        sets = np.unique(np.column_stack([patients, labels]), axis=0)[:, 0]
        mixed = int((np.unique(sets, return_counts=True)[1] > 1).sum())
        return [Fact(f"a patient has the labels of any image; patients whose images differ: {mixed}")] if mixed else []
    strict, lenient = patient_labels(labels, patients), patient_labels(labels, patients, healthy)
    counted = Counter(class_names[label] for label in lenient[(strict == NO_LABEL) & (lenient != NO_LABEL)])
    notes = [
        f"patients with images of {class_names[healthy or 0]} and {name} count as {name}: {count}"
        for name, count in counted.items()
    ]
    left_out = int((lenient == NO_LABEL).sum())
    if left_out:
        notes.append(f"patients with images of several classes are left out of the figures by patient: {left_out}")
    return notes
