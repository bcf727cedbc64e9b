"""Labels of images: one class for each image, or any number of labels for each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.core.config import ClassificationConfig, MultiLabelConfig

Labels = NDArray[np.int64]


def task_of(labels: Labels) -> str:
    """Return the name of the task that labels of whole images are for, as in a training configuration."""
    return ClassificationConfig.task if labels.ndim == 1 else MultiLabelConfig.task


def membership(labels: Labels, classes: int) -> NDArray[np.bool_]:
    """Return (N, C): True where an image has a class. An image whose labels are unknown has none.

    Args:
        labels: (N,) class of each image, or (N, C) with 1 for each label of an image and 0 for the others; -1 if
            unknown.
        classes: C.
    """
    has: NDArray[np.bool_] = labels == 1 if labels.ndim == 2 else labels[:, None] == np.arange(classes)
    return has


def label_sets(labels: Labels) -> Labels:
    """Return (N,) numbers that are equal for images with equal labels; -1 for images whose labels are unknown."""
    if labels.ndim == 1:
        return labels
    sets = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    return np.where(labels.min(axis=1) < 0, -1, sets)


def rarest_labels(labels: Labels) -> Labels:
    """Return the (N,) rarest label of each image, or C for an image without labels.

    Args:
        labels: (N, C) of 0 and 1.
    """
    counts = np.where(labels == 1, labels.clip(0).sum(axis=0), len(labels) + 1)
    rarest: Labels = np.where((labels == 1).any(axis=1), counts.argmin(axis=1), labels.shape[1])
    return rarest


def classes_of_groups(labels: Labels, groups: Sequence[NDArray[np.int64]], classes: int) -> Labels:
    """Return the (G,) class of each group to stratify by: its rarest one, counted in groups.

    A patient with a few slices of a lesion among many healthy ones counts as one with a lesion.

    Args:
        labels: (N,) classes or (N, C) labels of the images, as for ``membership``.
        groups: Indices of each group's images.
        classes: C, which is returned for groups without labels.
    """
    has = membership(labels, classes)
    return rarest_labels(np.stack([has[group].any(axis=0) for group in groups]).astype(np.int64))
