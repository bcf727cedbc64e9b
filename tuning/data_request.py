"""What a search's data is prepared from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from trainables.core.data.cache import Dataset
from trainables.core.data.groups import Grouping
from trainables.core.data.prepare import prepare
from trainables.core.data.splits import SHARES


@dataclass(frozen=True)
class DataRequest:
    """The arguments of ``prepare`` that say which images are in which split; the same ones give the same data."""

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

    def prepare(self, **how: Any) -> Dataset:
        """The data; what else ``prepare`` takes says how it is decoded."""
        return prepare(**vars(self), **how)
