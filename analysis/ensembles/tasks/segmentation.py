"""Results of segmentations. Predictions are pixel counts, because keeping the masks would take too much memory.

Counts are (N, 3C): true positive, false positive and false negative pixels of each class in each image.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.compare_rules import Comparison, chosen_from
from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.ensembles.result import EnsembleResult
from analysis.ensembles.tasks.base import ResultTable, TaskResults
from analysis.statistics.diversity import Diversity
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.intervals.score_parts import ScoreParts, mask_parts
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Kind, Sample
from trainables.core.config import SegmentationConfig
from trainables.core.metric_names import METRICS
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensembles.segmentation_ensemble import MASK
from trainables.core.training.metrics.classification_metrics import class_keys
from trainables.core.training.metrics.segmentation_metrics import (
    overlap,
    resampled_segmentation_metrics,
    segmentation_metrics,
)

Counts = NDArray[np.floating]
BEST = "best-on-tune"


class SegmentationResults(TaskResults):
    """Comparing, scoring and showing ensembles of segmenters.

    Counts are (2M - 1, N, 3C): of the M members, best first, then of the means of the first 2, ..., M members.
    """

    task = SegmentationConfig.task
    sort_params = ("architecture", "backbone", "lr")
    has_views = False
    has_probabilities = False

    @staticmethod
    def rules(members: int) -> tuple[str, ...]:
        """Return the rules: the first member, and the means of the first 2, 3, ... members."""
        return (BEST, *(f"mean-of-{count}" for count in range(2, members + 1)))

    @staticmethod
    def output_columns(class_names: tuple[str, ...], combination: Combination) -> dict[str, str]:  # noqa: ARG004
        """Return the column of the masks, as base64 text."""
        return {MASK: "string"}

    def sample(self, split: str, metric: str) -> Sample:
        """Return the groups of a split, and its patients if there are any, to score counts by ``metric``."""
        data, rows = self.data, self.data.splits[split]
        images = (data.labels[rows], data.groups[rows], data.class_names, metric, data.healthy)
        if data.patients is None:
            return MaskSample(*images)
        return MaskPatientSample(*images, patients=data.patients[rows])

    @staticmethod
    def compare(
        predictions: NDArray[Any],
        sample: Sample,
        rule: str | None = None,
        decisions: DecisionRules | None = None,  # noqa: ARG004
    ) -> Comparison:
        """Compare the means of the best members. They have no parameters, so all are scored directly."""
        by_rule = SegmentationResults._by_rule(predictions)

        def combination(rule: str) -> Combination:
            return Combination.of((np.arange(len(by_rule)) <= list(by_rule).index(rule)).astype(np.float64))

        return chosen_from(by_rule, combination, sample, rule, [])

    @staticmethod
    def held_out(
        predictions: NDArray[Any],
        sample: Sample,  # noqa: ARG004
        rule: str,
        decisions: DecisionRules | None = None,  # noqa: ARG004
    ) -> NDArray[Any]:
        """Return the (N, 3C) counts of a rule, which is never fitted."""
        return SegmentationResults._by_rule(predictions)[rule]

    @staticmethod
    def _by_rule(predictions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        members = (len(predictions) + 1) // 2
        return dict(zip(SegmentationResults.rules(members), [predictions[0], *predictions[members:]], strict=True))

    @staticmethod
    def diversity(predictions: NDArray[Any], sample: Sample) -> Diversity:  # noqa: ARG004
        """Return an empty result: counts of pixels do not show where members disagree."""
        return Diversity((), ())

    @staticmethod
    def combined(predictions: NDArray[Any], combination: Combination) -> NDArray[Any]:
        """Return the (N, 3C) counts of the mean of the voters, which are the first members."""
        members, voters = (len(predictions) + 1) // 2, len(combination.voters())
        counts: NDArray[Any] = predictions[0] if voters == 1 else predictions[members + voters - 2]
        return counts

    @staticmethod
    def members(predictions: NDArray[Any], combination: Combination) -> list[tuple[NDArray[Any], Combination]]:
        """Return the (N, 3C) counts of each member."""
        return [(counts, combination) for counts in predictions[: (len(predictions) + 1) // 2]]

    @staticmethod
    def score(
        predictions: NDArray[Any],
        combination: Combination,  # noqa: ARG004
        unit: str,  # noqa: ARG004
        sample: Sample,
    ) -> Scores:
        """Score one model's (N, 3C) counts; fewer than 10 groups get no intervals."""
        enough = len(sample.members) >= GROUPS_FOR_INTERVAL
        return Scores(
            metrics=sample.scores(predictions),
            intervals=intervals(predictions, sample) if enough else {},
            per_image=tuple(overlap(by_class(predictions), "dice").mean(axis=1).tolist()),
        )

    def class_tables(self, evaluation: Evaluation) -> tuple[ResultTable, ...]:
        """Return the overlaps by class; nothing for a single class."""
        names, scores = self.data.class_names, evaluation.ensemble.metrics
        if len(names) == 1:
            return ()
        keys = class_keys(names)
        columns = [metric.name for metric in METRICS if f"{metric.name}/{keys[0]}" in scores]
        rows = [
            (name, *(f"{scores[f'{column}/{key}']:.4f}" for column in columns))
            for name, key in zip(names, keys, strict=True)
        ]
        return (ResultTable("The ensemble, by class", ("class", *(name.replace("_", " ") for name in columns)), rows),)

    def files(self, result: EnsembleResult, header: str) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: a segmentation has only the files of every task."""
        return {}


@dataclass(frozen=True, eq=False)
class MaskSample(Sample):
    """Images with masks, in groups, and the metric that scores predictions of them."""

    def scores(self, counts: Counts, needed: str | None = None) -> dict[str, float]:  # noqa: ARG002
        """Compute all metrics of (N, 3C) counts."""
        return segmentation_metrics(by_class(counts), self.class_names)

    def groups_with(self, label: int) -> int:  # noqa: ARG002
        """Return the number of groups; every image is scored on every class."""
        return len(self.members)

    def scarce(self) -> tuple[tuple[Kind, ...], tuple[Kind, ...]]:
        """Return nothing: with too few groups, no score has an interval."""
        return (), ()

    def parts(self, counts: Counts) -> ScoreParts:
        """Return the parts that the metrics of (N, 3C) counts are made of."""
        return mask_parts(by_class(counts), self.class_names)

    def resampled_scores(
        self,
        counts: Counts,
        draws: NDArray[np.int64],
        needed: str | None = None,  # noqa: ARG002
    ) -> dict[str, NDArray[np.float64]]:
        """Compute all metrics on R resamples: (R,) each, from (R, N) draws of every image."""
        return resampled_segmentation_metrics(by_class(counts), self.class_names, draws)


@dataclass(frozen=True, eq=False)
class MaskPatientSample(PatientSample, MaskSample):
    """Images of patients with masks. A patient's pixels are pooled over its images, as over the slices of a volume."""

    image_sample: ClassVar[type[Sample]] = MaskSample

    def combined(self, counts: Counts) -> NDArray[np.float64]:
        """Add the (N, 3C) counts of the images to those of the patients."""
        position = np.unique(self.patients, return_inverse=True)[1]
        return np.stack([np.bincount(position, weights=column) for column in counts.T], axis=1)


def by_class(counts: Counts) -> Counts:
    """Reshape (N, 3C) counts to (N, C, 3)."""
    return counts.reshape(len(counts), -1, 3)
