"""Scoring of ensemble members on a data set, one class per task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.config import ClassificationConfig, MultiLabelConfig, SegmentationConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.splits.folds import POOL
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.predict_classes import mean_probabilities, predict_probabilities, trained_classifier
from trainables.core.serving.predict_masks import count_pixels, trained_segmenter
from trainables.core.training.cross_validation import OutOfFold
from trainables.worker.checkpoint_io import read_models, read_out_of_fold


class MemberScorer(ABC):
    """Scores members of one task's ensembles on a data set.

    Attributes:
        independent: True if members can be scored one by one and the results joined along the first axis.
    """

    independent: ClassVar[bool]

    def __init__(self, data: Dataset):
        self.data = data

    @abstractmethod
    def score(self, members: Sequence[str], split: str, views: str, device: torch.device) -> NDArray[Any]:
        """Score members on a split. See ``inference.infer`` for the arguments and the result."""


class ClassificationScorer(MemberScorer):
    """Predicts probabilities of classes or labels."""

    independent = True

    def score(self, members: Sequence[str], split: str, views: str, device: torch.device) -> NDArray[np.float32]:
        """Return (M, n, C) float32 probabilities."""
        return np.stack([self._score_member(member, split, views, device) for member in members])

    def _score_member(self, member: str, split: str, views: str, device: torch.device) -> NDArray[np.float32]:
        if reads_stored_predictions(split, views):
            return read_out_of_fold(member).of(self.data.splits[POOL])
        models = read_models(member)
        if split != POOL:
            indices = self.data.splits[split]
            return mean_probabilities([self._predict(model, indices, views, device) for model in models])
        folds = [
            OutOfFold(fold, self._predict(model, fold, views, device))
            for model, fold in zip(models, self.data.folds, strict=True)
        ]
        return reduce(OutOfFold.joined, folds).of(self.data.splits[POOL])

    def _predict(
        self, model: Checkpoint, indices: NDArray[np.int64], views: str, device: torch.device
    ) -> NDArray[np.float32]:
        images = self.data.images(model.config.image_size)
        return predict_probabilities(trained_classifier(model, device), images, indices, views=views)


class SegmentationScorer(MemberScorer):
    """Counts pixels of the masks of all members and of their means, in one pass over the images."""

    independent = False  # the means need all members, and masks are too large to send

    def score(
        self,
        members: Sequence[str],
        split: str,
        views: str,  # noqa: ARG002
        device: torch.device,
    ) -> NDArray[np.float64]:
        """Return (2M - 1, n, 3C) float64 counts, as ``count_pixels`` does."""
        data, checkpoints = self.data, [model for member in members for model in read_models(member)]
        (size,) = {checkpoint.config.image_size for checkpoint in checkpoints}  # the same for all trials of a search
        models = [trained_segmenter(checkpoint, device) for checkpoint in checkpoints]
        return count_pixels(models, data.images(size), data.masks(size), data.splits[split], len(data.class_names))


# By the name of the task.
_SCORERS: Mapping[str, type[MemberScorer]] = {
    ClassificationConfig.task: ClassificationScorer,
    SegmentationConfig.task: SegmentationScorer,
    MultiLabelConfig.task: ClassificationScorer,
}


def member_scorer(data: Dataset) -> MemberScorer:
    """Return the scorer of a data set's task."""
    return _SCORERS[data.task](data)


def reads_stored_predictions(split: str, views: str) -> bool:
    """Return True if the predictions are those that a cross-validated trial stored, so no model runs."""
    return split == POOL and views == "none"
