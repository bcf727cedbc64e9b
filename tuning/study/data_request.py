"""Arguments from which a search's data is prepared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.dicom import Window
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.grades import Ordered
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.folds import small_division
from trainables.core.data.splits.groups import Grouping
from trainables.core.data.splits.splits import MOST_FREQUENT, RAREST, SHARES
from trainables.core.serving.roi_finder import region_finder


@dataclass(frozen=True)
class DataRequest:
    """Arguments of ``prepare`` that decide which images are in which split. Equal requests give equal data.

    Searches that older versions began lack ``stratify_by`` and ``grouping.older`` in their study, and keep their
    splits. ``roi`` is the folder of the segmentation that finds the regions to crop images to, or None.
    """

    place: str
    seed: int
    split: str = "grouped"
    test_share: float = SHARES["test"]
    table: LabelTable | None = None
    window: Window | None = None
    slicing: Slicing | None = None
    grouping: Grouping = field(default_factory=Grouping)
    healthy: str | None = None
    ordered: Ordered = None
    skip_bad_images: bool = False
    folds: int | None = None
    stratify_by: str = RAREST
    roi: str | None = None

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return the request that ``dataclasses.asdict`` turned into ``saved``."""
        table = saved.get("table")  # searches before tables have none
        table = table and LabelTable.from_dict(table)
        window = saved.get("window") and tuple(saved["window"])
        ordered = saved.get("ordered", False)  # searches before grades have none
        ordered = tuple(ordered) if isinstance(ordered, list | tuple) else ordered
        grouping = Grouping.from_dict(saved["grouping"])
        slicing = saved.get("slicing") and Slicing(**saved["slicing"])
        medical = {"window": window, "slicing": slicing}
        division = {"stratify_by": saved.get("stratify_by", MOST_FREQUENT), "grouping": grouping}
        return cls(**{**saved, "table": table, **medical, "ordered": ordered, **division})

    def prepare(self, *, regions_progress: Callable[[float], None] | None = None, **arguments: Any) -> Dataset:
        """Prepare the data. A set of classes that is too small for one division gets a note.

        Args:
            regions_progress: Called with the share of images whose regions have been found.
            **arguments: Further arguments of ``prepare``, such as the sizes to decode.
        """
        data = prepare(**vars(self) | {"roi": region_finder(self.roi, regions_progress)}, **arguments)
        if data.folds or not data.image_classes:
            return data
        note = small_division(data.labels, data.groups, data.splits, data.class_names)
        return replace(data, notes=(*data.notes, note)) if note else data
