"""Values of each image from which scores are computed: probabilities, or pixel counts of masks. One reader per task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.config import ClassificationConfig, MultiLabelConfig, SegmentationConfig
from trainables.core.data.decode.masks import mask_classes, resized_classes
from trainables.core.models.networks.pixel_predictions import pixel_counts
from trainables.core.serving.score_images import ScoredImage
from tuning.evaluate.data.external_data import ExternalData


class ValueReader(ABC):
    """Reads the values to score from a model's predictions.

    Args:
        external: The images.
    """

    def __init__(self, external: ExternalData):
        self._external = external

    @abstractmethod
    def read(self, row: int, scored: ScoredImage) -> NDArray[np.floating]:
        """Return the (F,) values of one image."""

    def read_own_size(self, row: int, scored: ScoredImage) -> NDArray[np.floating] | None:  # noqa: ARG002
        """Return the values at the image's own size, or None if they are the same."""
        return None


class ProbabilityReader(ValueReader):
    """Reads the (K,) probabilities of the classes or labels that can be scored."""

    def read(self, row: int, scored: ScoredImage) -> NDArray[np.floating]:  # noqa: ARG002
        """Return float32 probabilities."""
        assert scored.probabilities is not None
        return scored.probabilities[self._external.columns]


class MaskReader(ValueReader):
    """Compares masks with the true ones: the (3K,) pixel counts of the classes that can be scored.

    Masks are compared at the size of the network's input, as in the search, so that both scores mean the same.
    """

    def read(self, row: int, scored: ScoredImage) -> NDArray[np.floating]:
        """Return the counts at the size of the network's input."""
        assert scored.input_mask is not None
        return self._counts(scored.input_mask, resized_classes(self._truth(row), len(scored.input_mask)))

    def read_own_size(self, row: int, scored: ScoredImage) -> NDArray[np.floating]:
        """Return the counts at the size of the image, at which masks are served."""
        assert scored.mask is not None
        return self._counts(scored.mask, self._truth(row))

    def _truth(self, row: int) -> NDArray[np.uint8]:
        masks, mask_format = self._external.source.masks, self._external.data.mask_format
        assert masks is not None and mask_format is not None
        return mask_classes(masks.read_bytes(row), mask_format)

    def _counts(self, mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.float64]:
        place = np.zeros(256, dtype=np.int64)  # of classes that cannot be scored: the background
        place[1 + self._external.columns] = np.arange(1, 1 + len(self._external.columns))
        predicted, true = (torch.from_numpy(pixels.astype(np.int64))[None] for pixels in (place[mask], truth))
        counts: NDArray[np.float64] = pixel_counts(predicted, true, len(self._external.columns)).double().numpy()
        return counts.reshape(-1)


READERS: Mapping[str, type[ValueReader]] = {
    ClassificationConfig.task: ProbabilityReader,
    MultiLabelConfig.task: ProbabilityReader,
    SegmentationConfig.task: MaskReader,
}


def value_reader(external: ExternalData) -> ValueReader:
    """Return the reader of the images' task."""
    return READERS[external.data.task](external)
