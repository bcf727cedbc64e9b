"""Copies of a search's images among new ones: they are no external evidence."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.report.evaluation.inputs import Copies
from trainables.core.data.audited_dataset import OpenedDataset, open_dataset
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.copies import DETAIL_SIDE, find_copies
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from trainables.core.serving.ensembles.base import Ensemble
from tuning.evaluate.data.external_data import ExternalData
from tuning.evaluate.score_source import features_of

_LISTED = 5
_EQUAL = 0.01  # distance of features of unit length; those of half precision differ by 0.001 from themselves


def find_training_copies(
    external: ExternalData,
    ensemble: Ensemble,
    metadata: Mapping[str, Any],
    progress: Callable[[float], None],
) -> tuple[NDArray[np.int64], Copies]:
    """Find the images of ``test`` that are copies of images of the search.

    They are compared with the images at the place in the model's metadata, by the audit's comparison of details. If
    these have changed or are gone, they are compared with the features of training images that the model stores, which
    finds equal pixels only.

    Args:
        external: New images.
        ensemble: The model.
        metadata: The model's metadata.
        progress: Called with the share that is done.

    Returns:
        Indices of the copies and of the other images of their groups, and a description.
    """
    rows, place = external.data.splits["test"], metadata.get("data")
    search = _open_search(ensemble, metadata)
    why = (
        "the model does not say where the images of the search are"
        if place is None
        else f"the images of the search at {place} have changed or are gone"
    )
    if search is not None:
        copies = rows[_copies_by_details(external, rows, search, progress)]
        method = f"compared with the {len(search.usable)} images of the search at {place}, also if turned or cropped"
    elif ensemble.training_features is not None:
        known = ensemble.training_features.features.astype(np.float32)
        copies = rows[_nearest(features_of(ensemble, external.source, rows), known) < _EQUAL]
        method = (
            f"{why}, so only equal images were found, among the {len(known)} training images whose features the model "
            "stores"
        )
    else:
        return rows[:0], Copies(None, f"copies of images of the search could not be looked for, because {why}")
    groups = external.data.groups
    affected = rows[np.isin(groups[rows], groups[copies])]  # a patient of the search is no new one
    names = tuple(external.source.names[index] for index in copies[:_LISTED])
    return affected, Copies(len(copies), method, len(affected) - len(copies), names)


def _open_search(ensemble: Ensemble, metadata: Mapping[str, Any]) -> OpenedDataset | None:
    """Open the data of the search; None if they are unknown, gone, or have changed."""
    place, saved = metadata.get("data"), metadata.get("data_table")
    if place is None:
        return None
    table = saved and LabelTable.from_dict(saved)
    pixels, any_groups = ensemble.pixel_format, Grouping(older=True)
    try:
        opened = open_dataset(place, table, any_groups, pixels.window, pixels.slicing, None, None, None)
    except (UserError, OSError):
        return None
    return opened if opened.data.fingerprint == metadata.get("data_fingerprint") else None


def _copies_by_details(
    external: ExternalData, rows: NDArray[np.int64], search: OpenedDataset, progress: Callable[[float], None]
) -> NDArray[np.int64]:
    """Return the positions in ``rows`` of the copies."""
    sides = (external.data.images(DETAIL_SIDE), rows), (search.data.images(DETAIL_SIDE), search.usable)
    images = np.concatenate([_grey(*side) for side in sides])
    pairs = (sorted((pair.first, pair.second)) for pair in find_copies(images, np.arange(len(images)), progress))
    return np.array(sorted({new for new, known in pairs if new < len(rows) <= known}), dtype=np.int64)


def _grey(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return (n, side, side, 1) means of the channels of some images."""
    return np.stack([images[row].mean(axis=2, keepdims=True).round().astype(np.uint8) for row in rows])


def _nearest(features: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the distance of each row of features to the nearest known one."""
    lengths = np.square(known).sum(axis=1)
    squares = np.square(features).sum(axis=1)[:, None] + lengths - 2 * features @ known.T
    nearest: NDArray[np.float64] = np.sqrt(np.maximum(squares.min(axis=1), 0)).astype(np.float64)
    return nearest
