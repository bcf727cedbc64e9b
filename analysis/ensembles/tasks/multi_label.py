"""Results of multi-label classifications. Predictions are (M, N, L) probabilities."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from analysis.ensembles.compare_rules import Comparison, RuleSet, compare, held_out
from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.ensembles.label_rules import HIGHEST_F1, LABEL_RULES, label_rules
from analysis.ensembles.operating_points import score_point
from analysis.ensembles.prediction_sets import score_label_sets
from analysis.ensembles.result import EnsembleResult
from analysis.ensembles.tasks.base import ResultTable, TaskResults
from analysis.ensembles.tasks.decision_tables import POINT_METRICS, label_set_tables
from analysis.ensembles.tasks.label_samples import LabelPatientSample, LabelSample
from analysis.statistics.baselines import MAJORITY, Baseline, baseline_predictions, compared_with_baselines
from analysis.statistics.calibration import binned, expected_calibration_error
from analysis.statistics.cross_fitting import group_folds
from analysis.statistics.diversity import Diversity, answer_diversity
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.resampling import Sample
from trainables.core.config import MultiLabelConfig
from trainables.core.data.labels import label_sets
from trainables.core.metric_names import PATIENT as OF_PATIENTS
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.combine_labels import LabelCombination
from trainables.core.serving.ensembles.multi_label_ensemble import labels_column
from trainables.core.serving.operating_point import IMAGE, PATIENT, shown_threshold
from trainables.core.serving.prediction_sets import LabelSets
from trainables.core.training.metrics.classification_metrics import class_keys
from trainables.core.training.metrics.multi_label_metrics import THRESHOLD

_SAME_GUESS = "same guess for every image"  # of labels, there is no majority class
_BY_LABEL = {"auroc": "AUROC", "average_precision": "average precision", "f1": "F1"}


class MultiLabelResults(TaskResults):
    """Comparing, scoring and showing ensembles of multi-label classifiers."""

    task = MultiLabelConfig.task
    sort_params = ("backbone", "freeze_depth", "lr")
    has_views = True
    has_patients = True
    has_soups = True

    @staticmethod
    def rules(members: int) -> tuple[str, ...]:  # noqa: ARG004
        """Return the names of all rules, simplest first."""
        return tuple(LABEL_RULES.rules)

    @staticmethod
    def output_columns(class_names: tuple[str, ...], combination: Combination) -> dict[str, str]:  # noqa: ARG004
        """Return a probability per label, and the labels decided on."""
        return {**dict.fromkeys(class_names, "float"), labels_column(class_names): "string"}

    @classmethod
    def check_decisions(cls, rules: DecisionRules, healthy: str | None) -> None:
        """Accept any rules: each label has an operating point and, with enough groups, prediction sets."""

    def sample(self, split: str, metric: str) -> Sample:
        """Return the labels and groups of a split, and its patients if there are any, to score by ``metric``."""
        data, rows = self.data, self.data.splits[split]
        images = (data.labels[rows], data.groups[rows], data.class_names, metric)
        if data.patients is None:
            return LabelSample(*images)
        return LabelPatientSample(*images, patients=data.patients[rows])

    @staticmethod
    def compare(
        predictions: NDArray[Any], sample: Sample, rule: str | None = None, decisions: DecisionRules | None = None
    ) -> Comparison:
        """Compare all rules by cross-fitting (``compare_rules.compare``)."""
        return compare(predictions, sample, rule, _rule_set(decisions), decisions or DecisionRules())

    @staticmethod
    def held_out(
        predictions: NDArray[Any], sample: Sample, rule: str, decisions: DecisionRules | None = None
    ) -> NDArray[np.float64]:
        """Return (N, 2L) cross-fitted probabilities and decisions."""
        return held_out(predictions, sample, rule, _rule_set(decisions))

    @classmethod
    def single(cls, member: NDArray[Any], sample: Sample, decisions: DecisionRules | None = None) -> NDArray[Any]:
        """Return a member's (N, 2L) probabilities and decisions, by thresholds that were chosen on other groups.

        With too few groups for that, there are no decisions, as in the comparison of the rules.
        """
        return member if group_folds(sample) is None else cls.held_out(member[None], sample, "mean", decisions)

    @staticmethod
    def score_single(
        predicted: NDArray[Any], sample: Sample, combination: Combination, decisions: DecisionRules | None = None
    ) -> float:
        """Score predictions that ``single`` returned, at thresholds of patients that were chosen on other groups."""
        if not (isinstance(sample, LabelPatientSample) and sample.metric.startswith(OF_PATIENTS)):
            return sample.score(predicted)
        patients = replace(sample, rule=combination.patients)
        return patients.by_patient.score(_rule_set(decisions).of_patients(predicted, patients))

    @staticmethod
    def diversity(predictions: NDArray[Any], sample: Sample) -> Diversity:
        """Return how often members decide on different sets of labels, and how their errors correlate."""
        (members, images), labels = predictions.shape[:2], sample.labels.shape[1]
        decided = (predictions[:, :, -labels:] >= THRESHOLD).reshape(members * images, labels)
        sets = label_sets(np.concatenate([decided, sample.labels]).astype(np.int64)).reshape(members + 1, images)
        return answer_diversity(sets[:-1], sets[-1])

    @staticmethod
    def combined(predictions: NDArray[Any], combination: Combination) -> NDArray[np.float64]:
        """Return the ensemble's (N, 2L) probabilities and decisions."""
        return combination.scorable(predictions)

    @staticmethod
    def members(predictions: NDArray[Any], combination: Combination) -> list[tuple[NDArray[Any], Combination]]:
        """Return each member's (N, 2L) probabilities and decisions, at its own thresholds."""
        own = map(combination.of_member, range(len(predictions)))
        return [(rule.scorable(member[None]), rule) for member, rule in zip(predictions, own, strict=True)]

    @staticmethod
    def score(predictions: NDArray[Any], combination: Combination, unit: str, sample: Sample) -> Scores:
        """Score one model's (N, 2L) probabilities and decisions."""
        assert isinstance(combination, LabelCombination)
        labels, names = sample.labels, sample.class_names
        probabilities, decided = predictions[:, : len(names)], predictions[:, len(names) :]
        distances = np.square(probabilities - labels).mean(axis=1)
        bins = binned(probabilities.ravel(), labels.ravel() == 1)
        mean = {"brier": float(distances.mean()), "ece": expected_calibration_error(bins)}
        metrics = sample.scores(predictions) | mean
        return Scores(
            metrics={name: value for name, value in metrics.items() if not np.isnan(value)},
            intervals=intervals(predictions, sample, {"brier": distances}),
            reliability=bins,
            report=classification_report(
                labels,
                decided.astype(np.int64),
                labels=range(len(names)) if len(names) > 1 else [1],  # scikit-learn takes one label for two classes
                target_names=names,
                zero_division=0,
            ),
            thresholds=combination.thresholds_of(unit),
        )

    @staticmethod
    def decided(
        scores: Scores, predictions: NDArray[Any], combination: Combination, unit: str, sample: Sample
    ) -> Scores:
        """Add the scores at the threshold of each label and those of its prediction sets, if the unit has them."""
        points = [point for point in combination.operating_points(sample.class_names) if point.unit == unit]
        keys = class_keys(sample.class_names)
        scores = scores.with_points({f"/{keys[one.column]}": score_point(one, predictions, sample) for one in points})
        sets = combination.sets_of(unit)
        if not isinstance(sets, LabelSets):
            return scores
        return scores.with_label_sets(score_label_sets(sets, predictions[:, : len(keys)], sample))

    def baselines(self, predictions: NDArray[Any], combination: Combination, metric: str) -> tuple[Baseline, ...]:
        """Score the shares of the labels and the nearest neighbour of raw pixels, by patient if the metric is."""
        predicted = {
            name: np.hstack([shares, shares >= THRESHOLD]) for name, shares in baseline_predictions(self.data).items()
        }
        combined, sample = combination.scorable(predictions), self.sample("test", metric)
        if isinstance(sample, LabelPatientSample) and metric.startswith(OF_PATIENTS):
            plain = replace(sample, rule=combination.patients)  # the thresholds of patients are the model's own
            predicted = {name: plain.combined(one) for name, one in predicted.items()}
            combined, sample = MultiLabelResults.by_unit(combined, combination, sample)[PATIENT]
        found = compared_with_baselines(combined, predicted, sample)
        return tuple(replace(one, name=_SAME_GUESS) if one.name == MAJORITY else one for one in found)

    def class_tables(self, evaluation: Evaluation) -> tuple[ResultTable, ...]:
        """Return the scores by label, and those at the threshold of each label, by image and by patient."""
        sample = self.sample("test", "")
        tables = _label_tables(evaluation.ensemble, IMAGE, sample)
        if evaluation.patients is not None and isinstance(sample, LabelPatientSample):
            tables += _label_tables(evaluation.patients.ensemble, PATIENT, sample.by_patient)
        return (*tables, *label_set_tables(evaluation))

    def files(self, result: EnsembleResult, header: str) -> dict[str, str]:
        """Return the thresholds, and the classification reports of the ensemble and its members."""
        evaluation, members = result.evaluation, result.chosen.members
        of_units = {}
        for unit, level in evaluation.levels().items():
            suffix, scores = "_patients" * (unit == PATIENT), level.ensemble
            of_units[f"classification_report{suffix}.txt"] = header + scores.report
            if scores.thresholds:
                thresholds = dict(zip(self.data.class_names, scores.thresholds, strict=True))
                of_units[f"thresholds{suffix}.json"] = json.dumps(thresholds, indent=1)
        return {
            **of_units,
            **{
                f"members/trial-{record.number:04d}.txt": header + scores.report
                for record, scores in zip(members, evaluation.members, strict=True)
            },
        }


def _rule_set(decisions: DecisionRules | None) -> RuleSet:
    return label_rules((decisions and decisions.points) or HIGHEST_F1)


def _label_tables(scores: Scores, unit: str, sample: Sample) -> list[ResultTable]:
    """Return the scores of images or patients by label, and those at the thresholds of the unit if there are any."""
    names, keys = sample.class_names, class_keys(sample.class_names)
    of_patients = " by patient" if unit == PATIENT else ""
    thresholds = list(map(shown_threshold, scores.thresholds)) or ["that of any image"] * len(names)
    rows = [
        (
            name,
            str(sample.has(label).sum()),
            str(len(np.unique(sample.groups[sample.has(label)]))),
            *(_with_interval(scores, f"{metric}/{key}") for metric in _BY_LABEL),
            thresholds[label],
        )
        for label, (name, key) in enumerate(zip(names, keys, strict=True))
    ]
    headings = ("label", f"{unit}s", "groups", *(f"{name} [95%]" for name in _BY_LABEL.values()), "threshold")
    by_label = ResultTable(f"Scores by label{of_patients and ' and patient'}", headings, rows)
    points = [(one.point.positive, *map(one.describe, POINT_METRICS)) for one in scores.points]
    at_points = ("label", *(f"{name} [95%]" for name in POINT_METRICS))
    at_thresholds = ResultTable(f"At the threshold of each label{of_patients}", at_points, points)
    return [by_label, *([at_thresholds] if points else [])]


def _with_interval(scores: Scores, metric: str) -> str:
    if metric not in scores.metrics:
        return ""
    interval = scores.intervals.get(metric)
    return f"{scores.metrics[metric]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
