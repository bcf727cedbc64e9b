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
from trainables.core.inspect.explanation import Explanation, ExplanationRequest
from trainables.core.models.networks.pixel_predictions import predicted_masks
from trainables.core.serving.predict_masks import MaskRequest, PixelPredictions
from trainables.worker.inference import MemberRequest, MemberResult

# Maps the members' checkpoints and one request or None per member to each member's cost and result.
Examine = Callable[[Sequence[str], Sequence[MemberRequest]], Sequence[MemberResult]]


def inspect_members(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """Measure the members and inspect them as their task requires."""
    return INSPECTIONS[data.task](data, ensemble, examine)


def _inspect_classifiers(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """Get features and heat maps of the member that is best on ``select``."""
    request = _request(data, ensemble)
    requests = [
        request if position == ensemble.best_member else None for position in range(len(ensemble.chosen.members))
    ]
    try:
        examined = examine(ensemble.chosen.checkpoints, requests)
    except Exception as error:  # a checkpoint or a node is gone: the rest of the report does not need it
        return Inspection(request=request, missing=_not_inspected(error))
    result = examined[ensemble.best_member][1]
    return Inspection([cost for cost, _ in examined], request, result if isinstance(result, Explanation) else None)


def _inspect_segmenters(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """Get the ensemble's masks of the worst and the best images of ``test``."""
    positions = worst_and_best(np.array(ensemble.evaluation.ensemble.per_image))
    request, weights = MaskRequest(data.splits["test"][positions]), ensemble.chosen.comparison.combination.weights
    try:
        examined = examine(ensemble.chosen.checkpoints, [request if weight > 0 else None for weight in weights])
    except Exception as error:  # as above
        return Inspection(missing=_not_inspected(error))
    results = zip(weights, (result for _, result in examined), strict=True)
    parts = [weight * result.probabilities for weight, result in results if isinstance(result, PixelPredictions)]
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


def _request(data: Dataset, ensemble: EnsembleInputs) -> ExplanationRequest:
    embedded, test = images_to_embed(data), data.splits["test"]
    if ensemble.test_predictions is None:
        return ExplanationRequest(embedded, test[:0], test[:0])
    probabilities = ensemble.test_predictions[ensemble.best_member]
    mapped = images_to_explain(data.labels[test], probabilities)
    return ExplanationRequest(embedded, test[mapped], probabilities[mapped].argmax(axis=1))


def _not_inspected(error: Exception) -> str:
    return f"the members could not be inspected ({first_line(error)})"
