"""Results of classifications. Predictions are (M, N, C) probabilities."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from analysis.ensembles.compare_rules import Comparison, compare, held_out
from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Evaluation, Recall, Scores
from analysis.ensembles.operating_points import score_point
from analysis.ensembles.prediction_sets import score_sets
from analysis.ensembles.result import EnsembleResult
from analysis.ensembles.rules import RULES
from analysis.ensembles.tasks.base import ResultTable, TaskResults
from analysis.ensembles.tasks.decision_tables import point_tables, set_tables
from analysis.statistics.baselines import Baseline, baseline_predictions, compared_with_baselines
from analysis.statistics.calibration import brier_scores, expected_calibration_error, reliability
from analysis.statistics.diversity import Diversity, diversity
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.patients import PatientSample, by_unit
from analysis.statistics.resampling import Probabilities, Sample
from trainables.core.config import ClassificationConfig
from trainables.core.errors import UserError
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensembles.classification_ensemble import positive_column
from trainables.core.training.metrics.classification_metrics import class_keys, confusion_counts


class ClassificationResults(TaskResults):
    """Comparing, scoring and showing ensembles of classifiers."""

    task = ClassificationConfig.task
    sort_params = ("backbone", "freeze_depth", "lr")
    has_views = True
    has_patients = True
    has_soups = True

    @staticmethod
    def rules(members: int) -> tuple[str, ...]:  # noqa: ARG004
        """Return the names of all rules, simplest first."""
        return tuple(RULES)

    @staticmethod
    def output_columns(class_names: tuple[str, ...], combination: Combination) -> dict[str, str]:
        """Return a probability per class, and the decision at the operating point."""
        columns = dict.fromkeys(class_names, "float")
        return columns | ({positive_column(class_names): "boolean"} if combination.points else {})

    @classmethod
    def check_decisions(cls, rules: DecisionRules, healthy: str | None) -> None:
        """Check that there is a healthy class for an operating point."""
        if rules.points is not None and healthy is None:
            raise UserError(
                "--operating-point needs a healthy class, but the search's space names none: set `healthy` in the space"
            )

    def sample(self, split: str, metric: str) -> Sample:
        """Return the labels and groups of a split, and its patients if there are any, to score by ``metric``."""
        data, rows = self.data, self.data.splits[split]
        images = (data.labels[rows], data.groups[rows], data.class_names, metric, data.healthy, data.ordered)
        if data.patients is not None:
            patients = PatientSample(*images, patients=data.patients[rows])
            if len(patients.by_patient.labels):
                return patients
        return Sample(*images)

    @staticmethod
    def compare(
        predictions: NDArray[Any], sample: Sample, rule: str | None = None, decisions: DecisionRules | None = None
    ) -> Comparison:
        """Compare all rules by cross-fitting (``compare_rules.compare``)."""
        return compare(predictions, sample, rule, decisions=decisions or DecisionRules())

    @staticmethod
    def held_out(
        predictions: NDArray[Any],
        sample: Sample,
        rule: str,
        decisions: DecisionRules | None = None,  # noqa: ARG004
    ) -> NDArray[np.float64]:
        """Return (N, C) cross-fitted probabilities."""
        return held_out(predictions, sample, rule)

    @staticmethod
    def diversity(predictions: NDArray[Any], sample: Sample) -> Diversity:
        """Return how often members disagree, and how their errors correlate."""
        return diversity(predictions, sample.labels)

    @staticmethod
    def combined(predictions: NDArray[Any], combination: Combination) -> NDArray[np.float64]:
        """Return the ensemble's (N, C) probabilities."""
        return combination.apply(predictions)

    @staticmethod
    def members(predictions: NDArray[Any], combination: Combination) -> list[tuple[NDArray[Any], Combination]]:
        """Return each member's (N, C) probabilities, whose patients are combined like those of the ensemble."""
        return [(member, combination) for member in predictions]

    @staticmethod
    def score(
        predictions: Probabilities,
        combination: Combination,  # noqa: ARG004
        unit: str,  # noqa: ARG004
        sample: Sample,
    ) -> Scores:
        """Score one model's (N, C) probabilities."""
        return score(predictions, sample)

    @classmethod
    def served(
        cls, combined: NDArray[Any], combination: Combination, sample: Sample
    ) -> dict[str, tuple[NDArray[Any], Sample]]:
        """Return float32 probabilities of images and, if known, of patients."""
        return {unit: (served, of_unit) for unit, served, of_unit in by_unit(combined, sample, combination.patients)}

    @staticmethod
    def decided(
        scores: Scores, predictions: NDArray[Any], combination: Combination, unit: str, sample: Sample
    ) -> Scores:
        """Add the scores at the operating point of a unit, and those of its prediction sets, if there are any."""
        point, sets = combination.point_of(unit), combination.sets_of(unit)
        if point is not None:
            scores = scores.with_points({"": score_point(point, predictions, sample)})
        return scores if sets is None else scores.with_sets(score_sets(sets, predictions, sample))

    def baselines(self, predictions: NDArray[Any], combination: Combination, metric: str) -> tuple[Baseline, ...]:
        """Score the majority class and the nearest neighbour of raw pixels, by patient if the metric is."""
        sample = self.sample("test", metric)
        if isinstance(sample, PatientSample):
            sample = sample.combined_as(combination)
        return compared_with_baselines(combination.apply(predictions), baseline_predictions(self.data), sample)

    def class_tables(self, evaluation: Evaluation) -> tuple[ResultTable, ...]:
        """Return the scores of decisions, the recalls and the confusion matrices."""
        scores = evaluation.ensemble
        recalls = ResultTable(
            "Recall of the ensemble, by class",
            ("class", "images", "groups", "recall [95%]"),
            [(recall.name, str(recall.images), str(recall.groups), recall.describe()) for recall in scores.recalls],
        )
        by_patient = evaluation.patients and self._confusion("Confusion matrix by patient", evaluation.patients)
        by_image = self._confusion("Confusion matrix of the ensemble", evaluation)
        of_decisions = [*point_tables(evaluation), *set_tables(evaluation)]
        return (*of_decisions, recalls, by_image, *([by_patient] if by_patient else []))

    def _confusion(self, title: str, evaluation: Evaluation) -> ResultTable:
        names = self.data.class_names
        rows = [(name, *map(str, row)) for name, row in zip(names, evaluation.ensemble.confusion, strict=True)]
        return ResultTable(title, ("true \\ predicted", *names), rows)

    def files(self, result: EnsembleResult, header: str) -> dict[str, str]:
        """Return the confusion matrix, and the classification reports of the ensemble and its members."""
        evaluation, members = result.evaluation, result.chosen.members
        patients = evaluation.patients.ensemble if evaluation.patients else None
        of_patients = (
            {
                "confusion_matrix_patients.json": json.dumps(patients.confusion),
                "classification_report_patients.txt": header + patients.report,
            }
            if patients
            else {}
        )
        return {
            **of_patients,
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
