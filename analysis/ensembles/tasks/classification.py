"""Results of classifications. Predictions are (M, N, C) probabilities."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from analysis.ensembles.choose_rule import Comparison, compare
from analysis.ensembles.evaluation import Evaluation, Recall, Scores
from analysis.ensembles.result import EnsembleResult
from analysis.ensembles.rules import RULES
from analysis.ensembles.tasks.base import ResultTable, TaskResults
from analysis.statistics.calibration import brier_scores, expected_calibration_error, reliability
from analysis.statistics.diversity import Diversity, diversity
from analysis.statistics.resampling import Probabilities, Sample, few_groups, intervals, permutation_test
from trainables.core.config import ClassificationConfig
from trainables.core.serving.combine import Combination
from trainables.core.training.classification_metrics import absent_classes, class_keys, confusion_counts


class ClassificationResults(TaskResults):
    """Comparing, scoring and showing ensembles of classifiers."""

    task = ClassificationConfig.task
    sort_params = ("backbone", "freeze_depth", "lr")
    has_views = True

    @staticmethod
    def rules(members: int) -> tuple[str, ...]:  # noqa: ARG004
        """Return the names of all rules, simplest first."""
        return tuple(RULES)

    @staticmethod
    def output_columns(class_names: tuple[str, ...]) -> dict[str, str]:
        """Return a probability per class."""
        return dict.fromkeys(class_names, "float")

    def sample(self, split: str, metric: str) -> Sample:
        """Return the labels and groups of a split, to score predictions by ``metric``."""
        data, rows = self.data, self.data.splits[split]
        return Sample(data.labels[rows], data.groups[rows], data.class_names, metric, data.healthy)

    @staticmethod
    def compare(predictions: NDArray[Any], sample: Sample, rule: str | None = None) -> Comparison:
        """Compare all rules by cross-fitting (``choose_rule.compare``)."""
        return compare(predictions, sample, rule)

    @staticmethod
    def diversity(predictions: NDArray[Any], sample: Sample) -> Diversity:
        """Return how often members disagree, and how their errors correlate."""
        return diversity(predictions, sample.labels)

    @staticmethod
    def evaluate(predictions: NDArray[Any], combination: Combination, sample: Sample, best_member: int) -> Evaluation:
        """Score an ensemble and its members; a class with few groups makes averages conditional on them."""
        combined, best = combination.apply(predictions), predictions[best_member]
        return Evaluation(
            ensemble=score(combined, sample),
            members=tuple(score(member, sample) for member in predictions),
            best_member=best_member,
            p_value=None if combination.voters() == [best_member] else permutation_test(combined, best, sample),
            groups=len(sample.members),
            conditional=tuple(sample.class_names[label] for label in few_groups(sample)),
            absent=absent_classes(sample.labels, sample.class_names),
        )

    def class_tables(self, evaluation: Evaluation) -> tuple[ResultTable, ...]:
        """Return the recalls and the confusion matrix."""
        names, scores = self.data.class_names, evaluation.ensemble
        recalls = ResultTable(
            "Recall of the ensemble, by class",
            ("class", "images", "groups", "recall [95%]"),
            [(recall.name, str(recall.images), str(recall.groups), recall.describe()) for recall in scores.recalls],
        )
        confusion = ResultTable(
            "Confusion matrix of the ensemble",
            ("true \\ predicted", *names),
            [(name, *map(str, row)) for name, row in zip(names, scores.confusion, strict=True)],
        )
        return recalls, confusion

    def files(self, result: EnsembleResult, header: str) -> dict[str, str]:
        """Return the confusion matrix, and the classification reports of the ensemble and its members."""
        evaluation, members = result.evaluation, result.chosen.members
        return {
            "confusion_matrix.json": json.dumps(evaluation.ensemble.confusion),
            "classification_report.txt": header + evaluation.ensemble.report,
            **{
                f"members/trial-{record.number:04d}.txt": header + scores.report
                for record, scores in zip(members, evaluation.members, strict=True)
            },
        }


def score(probabilities: Probabilities, sample: Sample) -> Scores:
    """Score one model's (N, C) probabilities."""
    labels, names = sample.labels, sample.class_names
    confusion, bins = confusion_counts(probabilities, labels), reliability(probabilities, labels)
    distances = brier_scores(probabilities, labels)
    metrics = sample.scores(probabilities) | {"brier": float(distances.mean()), "ece": expected_calibration_error(bins)}
    bounds = intervals(probabilities, sample, {"brier": distances})
    recalls = [
        Recall(
            name=names[label],
            right=int(confusion[label, label]),
            images=int(confusion[label].sum()),
            groups=sample.groups_with(label),
            interval=bounds.get(f"recall/{class_keys(names)[label]}"),
        )
        for label in np.flatnonzero(confusion.sum(axis=1)).tolist()
    ]
    return Scores(
        metrics={name: value for name, value in metrics.items() if not np.isnan(value)},
        intervals=bounds,
        recalls=tuple(recalls),
        reliability=bins,
        confusion=confusion.tolist(),
        report=classification_report(
            labels, probabilities.argmax(axis=1), labels=range(len(names)), target_names=names, zero_division=0
        ),
    )
