"""The four data sets of the curves: prepared as ``tune-run`` prepares them, then cut to a subset of stated size.

The two tables differ in their scale. Methods were designed on the small one; the large one has other configurations and
more images, and judges the methods as they were then.
"""

import dataclasses
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.groups import Grouping

FOLDER = Path(os.environ.get("TUNE_RUN_DATA") or Path(__file__).parents[3] / "shared" / "data")
IMAGE_SIZE = 64
SPLIT_SEED = 0
# Share of a split that each class gets if it has that many images: three images of a class would be no measurement.
LEAST_CLASS_SHARE = 0.1


class Scale(StrEnum):
    """Name of a table."""

    SMALL = "small"
    LARGE = "large"


# Most images of each split. Larger splits are cut to them, so that a trial takes seconds.
MOST: Mapping[Scale, Mapping[str, int]] = {
    Scale.SMALL: {"fit": 160, "tune": 80, "select": 80, "test": 160},
    Scale.LARGE: {"fit": 480, "tune": 300, "select": 300, "test": 320},
}

# Arguments of ``prepare`` beyond the folder's name.
DATA_SETS: Mapping[str, Mapping[str, Any]] = {
    "alzheimer_mri": {},
    "chest_xray": {"grouping": Grouping(usual_pattern=r"^(.*?)[-_]\d+\.jpe?g$"), "healthy": "NORMAL"},
    "tissue": {"grouping": Grouping(file=str(FOLDER / "tissue_groups.csv")), "test_share": 0.2, "healthy": "lung_n"},
    "tb": {"table": LabelTable(("labels.csv",), image="image_id", label="finding", group="patient_id")},
}


def load_data_set(name: str, scale: Scale = Scale.SMALL) -> Dataset:
    """Return a data set with grouped splits, each cut to at most ``MOST[scale]`` images."""
    data = prepare(str(FOLDER / name), sizes=[IMAGE_SIZE], seed=SPLIT_SEED, **DATA_SETS[name])
    return cut_splits(data, MOST[scale])


def cut_splits(data: Dataset, most: Mapping[str, int]) -> Dataset:
    """Return the data set with a stratified subset of each split. A group never straddles two splits.

    Args:
        data: Data set with the splits to cut.
        most: Largest number of images by split.
    """
    generator = np.random.default_rng(SPLIT_SEED)
    splits = {name: _subset(data, indices, most[name], generator) for name, indices in data.splits.items()}
    return dataclasses.replace(data, splits=splits)


def _subset(data: Dataset, indices: NDArray[np.int64], most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw ``most`` of the images at random, each class by its share but no less than ``LEAST_CLASS_SHARE``."""
    if len(indices) <= most:
        return indices
    labels = data.labels[indices]
    counts = np.bincount(labels, minlength=len(data.class_names))
    least = np.minimum(counts, round(LEAST_CLASS_SHARE * most))
    quotas = least + np.floor((most - least.sum()) * (counts - least) / (counts - least).sum()).astype(np.int64)
    chosen = [
        generator.choice(indices[labels == label], quota, replace=False) for label, quota in enumerate(quotas.tolist())
    ]
    return np.sort(np.concatenate(chosen))
