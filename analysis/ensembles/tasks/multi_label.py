"""Results of multi-label classifications. Predictions are (M, N, L) probabilities."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from analysis.ensembles.choose_rule import Comparison, compare
from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.ensembles.label_rules import HIGHEST_F1, LABEL_RULES, label_rules
from analysis.ensembles.operating_points import score_point
from analysis.ensembles.result import EnsembleResult
from analysis.ensembles.tasks.base import ResultTable, TaskResults
from analysis.ensembles.tasks.decision_tables import POINT_METRICS
from analysis.statistics.baselines import Baseline, baseline_predictions, compared_with_baselines
from analysis.statistics.calibration import binned, expected_calibration_error
from analysis.statistics.diversity import Diversity, answer_diversity
from analysis.statistics.intervals import intervals
from analysis.statistics.resampling import Probabilities, Sample, few_groups, permutation_test
from analysis.statistics.score_parts import ScoreParts, label_parts
from trainables.core.config import MultiLabelConfig
from trainables.core.data.labels import label_sets, membership, rarest_labels
from trainables.core.errors import UserError
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.combine_labels import LabelCombination
from trainables.core.serving.ensembles.multi_label_ensemble import labels_column
from trainables.core.training.metrics.classification_metrics import class_keys
from trainables.core.training.metrics.multi_label_metrics import (
    THRESHOLD,
    multi_label_metrics,
    resampled_multi_label_metrics,
)

_BY_LABEL = {"auroc": "AUROC", "average_precision": "average precision", "f1": "F1"}


@dataclass(frozen=True, eq=False)
class LabelSample(Sample):
    """Images with any number of labels, in groups. ``labels`` is (N, L) of 0 and 1.

    It scores (N, L) probabilities, or (N, 2L) probabilities and decisions, as ``multi_label_metrics`` does.
    """

    def scores(self, probabilities: Probabilities, needed: str | None = None) -> dict[str, float]:
        """Compute all metrics, or only ``needed``."""
        return multi_label_metrics(probabilities, self.labels, self.class_names, needed)

    def resampled_scores(
        self, probabilities: Probabilities, draws: NDArray[np.int64], needed: str | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Compute all metrics on R resamples, or only ``needed``: (R,) each, from (R, N) draws of every image."""
        return resampled_multi_label_metrics(probabilities, self.labels, self.class_names, draws, needed)

    def parts(self, probabilities: Probabilities) -> ScoreParts:
        """Return the parts that the metrics are made of."""
        return label_parts(probabilities, self.labels, self.class_names)

    @cached_property
    def group_classes(self) -> NDArray[np.int64]:
        """(G,) the rarest label of each group, counted in groups; L for groups without labels."""
        return rarest_labels(np.stack([self.labels[group].max(axis=0) for group in self.members]))

    def groups_with(self, label: int) -> int:
        """Return the number of groups with an image of a label, or of those with an image without it if that is less.

        The figures of a label depend on both kinds of images.
        """
        has = self.has(label)
        return min(len(np.unique(self.groups[has])), len(np.unique(self.groups[~has])))


class MultiLabelResults(TaskResults):
    """Comparing, scoring and showing ensembles of multi-label classifiers."""

    task = MultiLabelConfig.task
    sort_params = ("backbone", "freeze_depth", "lr")
    has_views = True

    @staticmethod
    def rules(members: int) -> tuple[str, ...]:  # noqa: ARG004
        """Return the names of all rules, simplest first."""
        return tuple(LABEL_RULES.rules)

    @staticmethod
    def output_columns(class_names: tuple[str, ...], combination: Combination) -> dict[str, str]:  # noqa: ARG004
        """Return a probability per label, and the labels decided on."""
        return {**dict.fromkeys(class_names, "float"), labels_column(class_names): "string"}

    @classmethod
    def check_decisions(cls, rules: DecisionRules, healthy: str | None) -> None:  # noqa: ARG003
        """Refuse prediction sets: an image may have several labels."""
        if rules.coverage is not None:
            raise UserError(f"--coverage is not available for a {cls.task}: an image may have several labels")

    def sample(self, split: str, metric: str) -> LabelSample:
        """Return the labels and groups of a split, to score predictions by ``metric``."""
        data, rows = self.data, self.data.splits[split]
        return LabelSample(data.labels[rows], data.groups[rows], data.class_names, metric)

    @staticmethod
    def compare(
        predictions: NDArray[Any], sample: Sample, rule: str | None = None, decisions: DecisionRules | None = None
    ) -> Comparison:
        """Compare all rules by cross-fitting (``choose_rule.compare``)."""
        return compare(predictions, sample, rule, label_rules((decisions and decisions.points) or HIGHEST_F1))

    @staticmethod
    def diversity(predictions: NDArray[Any], sample: Sample) -> Diversity:
        """Return how often members decide on different sets of labels, and how their errors correlate."""
        members, images, labels = predictions.shape
        decided = (predictions >= THRESHOLD).reshape(members * images, labels)
        sets = label_sets(np.concatenate([decided, sample.labels]).astype(np.int64)).reshape(members + 1, images)
        return answer_diversity(sets[:-1], sets[-1])

    @staticmethod
    def combined(predictions: NDArray[Any], combination: Combination) -> NDArray[np.float64]:
        """Return the ensemble's (N, 2L) probabilities and decisions."""
        return combination.scorable(predictions)

    @staticmethod
    def evaluate(predictions: NDArray[Any], combination: Combination, sample: Sample, best_member: int) -> Evaluation:
        """Score an ensemble and its members, each at its thresholds; a label with few groups has no intervals."""
        assert isinstance(combination, LabelCombination)
        combined = MultiLabelResults.combined(predictions, combination)
        members = [combination.of_member(position).scorable(one[None]) for position, one in enumerate(predictions)]
        is_best_member = combination.voters() == [best_member]
        points = zip(class_keys(sample.class_names), combination.operating_points(sample.class_names), strict=True)
        at_points = {f"/{key}": score_point(point, combined, sample) for key, point in points}
        return Evaluation(
            ensemble=_score(combined, combination.thresholds, sample).with_points(at_points),
            members=tuple(map(_score, members, combination.member_thresholds, [sample] * len(members))),
            best_member=best_member,
            p_value=None if is_best_member else permutation_test(combined, members[best_member], sample),
            groups=len(sample.members),
            conditional=tuple(sample.class_names[label] for label in few_groups(sample)),
            absent=tuple(name for label, name in enumerate(sample.class_names) if not sample.has(label).any()),
        )

    def baselines(self, predictions: NDArray[Any], combination: Combination, metric: str) -> tuple[Baseline, ...]:
        """Score the shares of the labels and the nearest neighbour of raw pixels."""
        assert isinstance(combination, LabelCombination)
        predicted = {
            name: np.hstack([shares, shares >= THRESHOLD]) for name, shares in baseline_predictions(self.data).items()
        }
        return compared_with_baselines(combination.scorable(predictions), predicted, self.sample("test", metric))

    def class_tables(self, evaluation: Evaluation) -> tuple[ResultTable, ...]:
        """Return the scores by label, and those at the threshold of each label."""
        scores = evaluation.ensemble
        headings = ("label", "images", "groups", *(f"{name} [95%]" for name in _BY_LABEL.values()), "threshold")
        by_label = ResultTable("The ensemble, by label", headings, self._rows(scores))
        rows = [(one.point.positive, *map(one.describe, POINT_METRICS)) for one in scores.points]
        at_points = ("label", *(f"{name} [95%]" for name in POINT_METRICS))
        return (by_label, *([ResultTable("At the threshold of each label", at_points, rows)] if rows else []))

    def _rows(self, scores: Scores) -> list[tuple[str, ...]]:
        data, rows = self.data, self.data.splits["test"]
        has = membership(data.labels[rows], len(data.class_names))
        return [
            (
                name,
                str(has[:, label].sum()),
                str(len(np.unique(data.groups[rows[has[:, label]]]))),
                *(_with_interval(scores, f"{metric}/{key}") for metric in _BY_LABEL),
                f"{scores.thresholds[label]:.3f}",
            )
            for label, (name, key) in enumerate(zip(data.class_names, class_keys(data.class_names), strict=True))
        ]

    def files(self, result: EnsembleResult, header: str) -> dict[str, str]:
        """Return the thresholds, and the classification reports of the ensemble and its members."""
        evaluation, members = result.evaluation, result.chosen.members
        thresholds = dict(zip(self.data.class_names, evaluation.ensemble.thresholds, strict=True))
        return {
            "thresholds.json": json.dumps(thresholds, indent=1),
            "classification_report.txt": header + evaluation.ensemble.report,
            **{
                f"members/trial-{record.number:04d}.txt": header + scores.report
                for record, scores in zip(members, evaluation.members, strict=True)
            },
        }


def _with_interval(scores: Scores, metric: str) -> str:
    if metric not in scores.metrics:
        return ""
    interval = scores.intervals.get(metric)
    return f"{scores.metrics[metric]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _score(predictions: Probabilities, thresholds: Sequence[float], sample: Sample) -> Scores:
    """Score one model's (N, 2L) probabilities and decisions."""
    labels, names = sample.labels, sample.class_names
    probabilities, decided = predictions[:, : len(names)], predictions[:, len(names) :]
    distances = np.square(probabilities - labels).mean(axis=1)
    bins = binned(probabilities.ravel(), labels.ravel() == 1)
    metrics = sample.scores(predictions) | {"brier": float(distances.mean()), "ece": expected_calibration_error(bins)}
    return Scores(
        metrics={name: value for name, value in metrics.items() if not np.isnan(value)},
        intervals=intervals(predictions, sample, {"brier": distances}),
        reliability=bins,
        report=classification_report(labels, decided.astype(np.int64), target_names=names, zero_division=0),
        thresholds=tuple(thresholds),
    )
