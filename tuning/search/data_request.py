"""What a search's data is prepared from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.data.splits.groups import Grouping
from trainables.core.data.splits.splits import SHARES
from trainables.core.serving.roi_finder import region_finder


@dataclass(frozen=True)
class DataRequest:
    """The arguments of ``prepare`` that say which images are in which split; the same ones give the same data.

    ``roi`` is the folder of the segmentation to whose regions images are cut, or None.
    """

    place: str
    seed: int
    split: str = "grouped"
    test_share: float = SHARES["test"]
    grouping: Grouping = field(default_factory=Grouping)
    healthy: str | None = None
    skip_bad_images: bool = False
    folds: int | None = None
    roi: str | None = None

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> Self:
        """The request whose ``dataclasses.asdict`` was noted."""
        return cls(**{**noted, "grouping": Grouping(**noted["grouping"])})

    def prepare(self, *, regions_progress: Callable[[float], None] | None = None, **how: Any) -> Dataset:
        """The data.

        Args:
            regions_progress: Told the share of the images whose regions are found.
            **how: What else ``prepare`` takes, such as the sizes to decode at.
        """
        return prepare(**vars(self) | {"roi": region_finder(self.roi, regions_progress)}, **how)
