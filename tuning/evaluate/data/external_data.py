"""Labelled images from elsewhere, as a data set in the classes of a model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.audited_dataset import audited, open_dataset, reading_notes
from trainables.core.data.dataset import Dataset
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.source import Source
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from trainables.core.serving.ensemble import ENSEMBLES
from trainables.core.serving.ensembles.base import Ensemble
from tuning.evaluate.data.class_names import in_model_classes, masks_in_model_classes, model_classes


@dataclass(frozen=True)
class ExternalDataRequest:
    """Place of the images, and where their labels and groups are.

    Attributes:
        place: Folder, URI, or name of a hub data set.
        table: Table of the labels, or None.
        grouping: The user's statement about which images belong together.
        names: The model's names of new classes.
    """

    place: str
    table: LabelTable | None
    grouping: Grouping
    names: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from the result of ``to_json``, also after JSON."""
        table = raw["table"] and LabelTable.from_dict(raw["table"])
        return cls(raw["place"], table, Grouping.from_dict(raw["grouping"]), raw["names"])


@dataclass(frozen=True, eq=False)
class ExternalData:
    """Images from elsewhere.

    Attributes:
        source: Encoded images.
        data: Data set with the labels, the names and the order of the model's classes that can be scored. Its split
            ``test`` has the usable images.
        columns: (K,) positions of these classes among the model's.
        bad: Reason why an image cannot be used, by index.
        images: SHA-256 over the usable images, whatever their order and labels; "" if it is not needed.
    """

    source: Source
    data: Dataset
    columns: NDArray[np.int64]
    bad: Mapping[int, str]
    images: str = ""

    def only(self, rows: NDArray[np.int64]) -> "ExternalData":
        """Return the data with other images in ``test``."""
        return replace(self, data=replace(self.data, splits={"test": rows}))


def open_external(
    request: ExternalDataRequest, ensemble: Ensemble, healthy: str | None, progress: Callable[[float], None]
) -> ExternalData:
    """Open the images, find their groups, and match their classes to the model's.

    Args:
        request: Place of the images.
        ensemble: The model.
        healthy: Its class without a disease, or None.
        progress: Called with the share of the comparison of images that is done.

    Raises:
        UserError: A class is unknown to the model, or the model is for another task.
    """
    shown = ensemble.pixel_format.window, ensemble.pixel_format.slicing
    opened = open_dataset(request.place, request.table, request.grouping, *shown, None, None, None, one_class=True)
    _check_task(opened.data, ensemble)
    positions = model_classes(opened.data.class_names, ensemble.class_names, request.names)
    mask_format = opened.data.mask_format
    if mask_format is None:
        labels, columns = in_model_classes(opened.data.labels, positions, len(ensemble.class_names))
    else:
        mask_format, columns = masks_in_model_classes(mask_format, positions, ensemble.class_names)
        labels = opened.data.labels
    names = tuple(ensemble.class_names[column] for column in columns)
    data = audited(opened, request.grouping.threshold, progress)
    missing = [name for name in ensemble.class_names if name not in {ensemble.class_names[one] for one in positions}]
    notes = [*reading_notes(opened.source), *opened.odd.notes(opened.source.names)]
    notes += [_without(missing, "images" if mask_format is None else "masks")] if missing else []
    data = replace(
        data,
        labels=labels,
        class_names=names,
        mask_format=mask_format,
        splits={"test": opened.usable},
        healthy=healthy,
        ordered=ensemble.ordered,
        notes=tuple(notes),
    )
    return ExternalData(opened.source, data, columns, opened.bad, opened.images)


def _without(missing: Sequence[str], units: str) -> str:
    return (
        f"DATA has no {units} of {', '.join(missing)}: averages over classes or labels are of the others, but the "
        "internal ones are of all, so their difference is partly one of these classes"
    )


def _check_task(data: Dataset, ensemble: Ensemble) -> None:
    if not isinstance(ensemble, ENSEMBLES[data.task]):
        kinds = {task: kind.answer_heading for task, kind in ENSEMBLES.items()}
        table = "give another table with --labels, or another --label-column"
        remedy = "give a folder with images/ and masks/" if ensemble.predicts_masks else table
        raise UserError(
            f"DATA must be labelled as the model answers, by {ensemble.answer_heading}, but {data.place} is labelled "
            f"by {kinds[data.task]}: {remedy}"
        )
