"""Inspection of ensemble members for a report: cost, features and heat maps, or masks, depending on the task.

Images of ``test`` are read again only if the study says that it was opened, as a part of that opening.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from analysis.report.embedding import images_to_embed, images_to_explain
from analysis.report.inputs import EnsembleInputs, Inspection
from analysis.report.sections.segmentation_scores import worst_and_best
from trainables.core.config import ClassificationConfig, MultiLabelConfig, SegmentationConfig
from trainables.core.data.dataset import Dataset
from trainables.core.errors import first_line
from trainables.core.inspect.questions import Answer, Question
from trainables.core.models.networks.pixel_predictions import predicted_masks
from trainables.core.serving.predict_masks import MaskAnswer, MaskQuestion
from trainables.worker.inference import MemberQuestion, MemberResult

# Maps the members' checkpoints and one question or None per member to each member's cost and answer.
Examine = Callable[[Sequence[str], Sequence[MemberQuestion]], Sequence[MemberResult]]


def inspect_members(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """Measure the members and inspect them as their task requires."""
    return INSPECTIONS[data.task](data, ensemble, examine)


def _inspect_classifiers(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """Get features and heat maps of the member that is best on ``select``."""
    question = _question(data, ensemble)
    questions = [
        question if position == ensemble.best_member else None for position in range(len(ensemble.chosen.members))
    ]
    try:
        examined = examine(ensemble.chosen.checkpoints, questions)
    except Exception as error:  # a checkpoint or a node is gone: the rest of the report does not need it
        return Inspection(question=question, missing=_not_inspected(error))
    answer = examined[ensemble.best_member][1]
    return Inspection([cost for cost, _ in examined], question, answer if isinstance(answer, Answer) else None)


def _inspect_segmenters(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """Get the ensemble's masks of the worst and the best images of ``test``."""
    positions = worst_and_best(np.array(ensemble.evaluation.ensemble.per_image))
    question, weights = MaskQuestion(data.splits["test"][positions]), ensemble.chosen.comparison.combination.weights
    try:
        examined = examine(ensemble.chosen.checkpoints, [question if weight > 0 else None for weight in weights])
    except Exception as error:  # as above
        return Inspection(missing=_not_inspected(error))
    answers = zip(weights, (answer for _, answer in examined), strict=True)
    parts = [weight * answer.probabilities for weight, answer in answers if isinstance(answer, MaskAnswer)]
    masks = predicted_masks(torch.from_numpy(np.sum(parts, axis=0))).to(torch.uint8).numpy()
    return Inspection([cost for cost, _ in examined], mask_positions=positions, masks=masks)


def _measure(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:  # noqa: ARG001
    """Measure the members only: the saved predictions show everything else."""
    members = ensemble.chosen.checkpoints
    try:
        return Inspection([cost for cost, _ in examine(members, [None] * len(members))])
    except Exception as error:  # as above
        return Inspection(missing=_not_inspected(error))


INSPECTIONS = {
    ClassificationConfig.task: _inspect_classifiers,
    SegmentationConfig.task: _inspect_segmenters,
    MultiLabelConfig.task: _measure,
}


def _question(data: Dataset, ensemble: EnsembleInputs) -> Question:
    embedded, test = images_to_embed(data), data.splits["test"]
    if ensemble.test_predictions is None:
        return Question(embedded, test[:0], test[:0])
    probabilities = ensemble.test_predictions[ensemble.best_member]
    mapped = images_to_explain(data.labels[test], probabilities)
    return Question(embedded, test[mapped], probabilities[mapped].argmax(axis=1))


def _not_inspected(error: Exception) -> str:
    return f"the members could not be inspected ({first_line(error)})"
