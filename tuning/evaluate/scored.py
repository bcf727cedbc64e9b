"""Images from elsewhere with a model's predictions of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.tasks.base import TaskResults
from analysis.ensembles.tasks.choose import task_results
from analysis.statistics.resampling import Sample
from trainables.core.config import SegmentationConfig
from trainables.core.metric_names import PATIENT
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensembles.base import Ensemble
from tuning.evaluate.data.external_data import ExternalData

_DEFAULT_METRICS = {SegmentationConfig.task: "dice"}  # of other tasks: auroc


@dataclass(frozen=True, eq=False)
class Scored:
    """Images with their predictions.

    Attributes:
        data: The images.
        predictions: (n, F) probabilities of the classes in ``data``, or pixel counts of their masks.
        combination: Combination that leaves them as they are, with the model's thresholds.
        metric: Metric that leads.
    """

    data: ExternalData
    predictions: NDArray[np.floating]
    combination: Combination
    metric: str

    @classmethod
    def of(
        cls,
        external: ExternalData,
        predictions: NDArray[np.floating],
        ensemble: Ensemble,
        metadata: Mapping[str, Any],
    ) -> Self:
        """Return the images with a model's predictions.

        Args:
            external: The images.
            predictions: (n, F) predictions.
            ensemble: The model.
            metadata: Its metadata, which name the metric that leads.
        """
        metric = metadata.get("metric", _DEFAULT_METRICS.get(external.data.task, "auroc"))
        return cls(external, predictions, ensemble.combination.of_combined(external.columns), metric)

    @property
    def task(self) -> TaskResults:
        """Results object of the task."""
        return task_results(self.data.data)

    def combined(self, predictions: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return predictions as a sample scores them."""
        return self.task.combined(predictions[None], self.combination)

    def evaluation(self, predictions: NDArray[np.floating]) -> Evaluation:
        """Return all scores of predictions."""
        sample = self.task.sample("test", self.metric)
        return self.task.evaluate_combined(self.combined(predictions), self.combination, sample)

    def by_image(self) -> tuple[NDArray[np.floating], Sample]:
        """Return the predictions as they are scored, and the images without their patients."""
        sample = self.task.sample("test", self.metric.removeprefix(PATIENT))
        (predictions,), sample = sample.at_level_of_metric([self.combined(self.predictions)])
        return predictions, sample

    def part(self, chosen: NDArray[np.bool_]) -> "Scored":
        """Return some of the images."""
        rows = self.data.data.splits["test"]
        return replace(self, data=self.data.only(rows[chosen]), predictions=self.predictions[chosen])
