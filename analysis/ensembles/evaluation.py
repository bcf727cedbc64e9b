"""Scores of an ensemble and its members on the sealed test set, with their uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from analysis.ensembles.set_scores import LabelSetScores, SetScores
from analysis.statistics.calibration import Bin
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Sample
from trainables.core.metric_names import PATIENT
from trainables.core.plural import plural
from trainables.core.serving.operating_point import IMAGE as IMAGE_UNIT
from trainables.core.serving.operating_point import PATIENT as PATIENT_UNIT
from trainables.core.serving.operating_point import OperatingPoint


@dataclass(frozen=True)
class Recall:
    """The recall of one class.

    Attributes:
        name: Class name.
        right: Images of the class that were recognised.
        images: Images of the class, at least 1.
        groups: Groups with an image of the class.
        interval: 95% confidence interval; None with fewer than 10 groups.
    """

    name: str
    right: int
    images: int
    groups: int
    interval: tuple[float, float] | None

    def describe(self) -> str:
        """Return ``0.833 [0.750, 0.901]``, or ``5/7, from 1 group`` without an interval."""
        if self.interval is None:
            return f"{self.right}/{self.images}, from {plural(self.groups, 'group')}"
        return f"{self.right / self.images:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


@dataclass(frozen=True)
class PointScores:
    """Scores of the decisions at an operating point.

    Attributes:
        point: Operating point.
        counts: Images, or patients, that are true positives, false negatives, true negatives and false positives.
        groups: Number of groups with a positive, and with a negative.
        intervals: 95% confidence intervals by metric; none if either side that has images has fewer than 10 groups.
    """

    point: OperatingPoint
    counts: tuple[int, int, int, int]
    groups: tuple[int, int]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def shares(self) -> dict[str, tuple[int, int]]:
        """Return the numerator and the denominator of each metric that has one.

        They are ``sensitivity``, which needs positives, ``specificity``, which needs negatives, and the positive and
        negative predictive values ``ppv`` and ``npv``. These hold at the share of positives in the sample, so they need
        both, and a positive or negative decision.
        """
        found, missed, cleared, alarms = self.counts
        shares = {"sensitivity": (found, found + missed), "specificity": (cleared, cleared + alarms)}
        if all(total for _, total in shares.values()):
            shares |= {"ppv": (found, found + alarms), "npv": (cleared, cleared + missed)}
        return {name: share for name, share in shares.items() if share[1]}

    def metrics(self) -> dict[str, float]:
        """Return the defined metrics."""
        return {name: right / total for name, (right, total) in self.shares().items()}

    def describe(self, name: str) -> str:
        """Return a metric, such as ``0.833 [0.750, 0.901]``; "" if it is undefined."""
        low, high = self.intervals.get(name, (None, None))
        value = self.metrics().get(name)
        return "" if value is None else f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


@dataclass(frozen=True)
class Scores:
    """One model's scores on ``test``.

    Attributes:
        metrics: Defined metrics of the task. Classifications also have ``brier`` and ``ece`` (expected calibration
            error), with one label or several.
        intervals: 95% confidence intervals by metric. ``ece`` has none because every resample biases it upwards. Nor
            do classes with fewer than 10 groups.
        recalls: Recall of each class in ``test``; classification only.
        reliability: Bins of the reliability diagram; not for a segmentation.
        confusion: (C, C) counts, true classes in rows; classification only.
        report: scikit-learn's classification report; not for a segmentation.
        per_image: (N,) Dice of each image, or patient, averaged over classes; segmentation only.
        thresholds: (L,) probabilities from which labels are assigned; multi-label classification only.
        points: Scores at the operating points: one of a disease, or one per label; only of an ensemble. Their metrics
            are in ``metrics`` too.
        sets: Scores of the prediction sets of classes, whose metrics are in ``metrics`` too; None without them.
        label_sets: The same of labels.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    recalls: tuple[Recall, ...] = ()
    reliability: tuple[Bin, ...] = ()
    confusion: list[list[int]] = field(default_factory=list)
    report: str = ""
    per_image: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    points: tuple[PointScores, ...] = ()
    sets: SetScores | None = None
    label_sets: LabelSetScores | None = None

    def with_points(self, points: Mapping[str, PointScores]) -> Self:
        """Add scores at operating points, whose metrics get the suffix that is their key."""
        metrics = {f"{name}{key}": value for key, one in points.items() for name, value in one.metrics().items()}
        bounds = {f"{name}{key}": value for key, one in points.items() for name, value in one.intervals.items()}
        return replace(
            self, metrics=self.metrics | metrics, intervals=self.intervals | bounds, points=tuple(points.values())
        )

    def with_sets(self, sets: SetScores) -> Self:
        """Add scores of prediction sets."""
        bounds = {"set_coverage": sets.interval} if sets.interval else {}
        return replace(self, metrics=self.metrics | sets.metrics(), intervals=self.intervals | bounds, sets=sets)

    def with_label_sets(self, sets: LabelSetScores) -> Self:
        """Add scores of prediction sets of labels."""
        return replace(self, metrics=self.metrics | sets.metrics(), label_sets=sets)


@dataclass(frozen=True)
class Evaluation:
    """Scores of an ensemble and its members on ``test``.

    Attributes:
        ensemble: Scores of the ensemble.
        members: Scores of each member; empty if only the ensemble was scored.
        best_member: Position of the member with the best score on ``select``; without a meaning if there are none.
        p_value: ``permutation_test`` of the ensemble against that member; None if they are the same model, or with too
            few groups.
        groups: Number of groups in ``test``.
        conditional: Classes with fewer than 10 groups, and labels with fewer on either side. Averages over classes hold
            for these groups only.
        absent: Classes without an image in ``test``, and labels that every image has.
        patients: The same by patient, whose units are patients instead of images; None without patients.
        count: Number of images, or of patients, of labels or masks; 0 where recalls tell it, and in earlier versions.
        negatives: Labels among ``conditional`` and ``absent`` because few groups, or none, have images without them.
    """

    ensemble: Scores
    members: tuple[Scores, ...]
    best_member: int
    p_value: float | None
    groups: int
    conditional: tuple[str, ...]
    absent: tuple[str, ...]
    patients: "Evaluation | None" = None
    count: int = 0
    negatives: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: Scores, sample: Sample) -> Self:
        """Return the evaluation of one model on a sample, without its members."""
        few, absent = sample.scarce()
        return cls(
            scores,
            (),
            0,
            None,
            len(sample.members),
            tuple(kind.name for kind in few),
            tuple(kind.name for kind in absent),
            count=0 if scores.recalls else len(sample.labels),
            negatives=tuple(kind.name for kind in (*few, *absent) if not kind.present),
        )

    @property
    def units(self) -> int:
        """The number of images, or of patients; 0 if an earlier version scored labels or masks."""
        return self.count or sum(recall.images for recall in self.ensemble.recalls)

    def levels(self) -> "dict[str, Evaluation]":
        """Return the scores by unit: of images and, if they are known, of patients."""
        return {IMAGE_UNIT: self, **({PATIENT_UNIT: self.patients} if self.patients else {})}

    def metrics(self) -> dict[str, float]:
        """Return the ensemble's metrics; those of patients have the prefix ``patient_``."""
        of_patients = self.patients.ensemble.metrics if self.patients else {}
        return self.ensemble.metrics | {f"{PATIENT}{name}": value for name, value in of_patients.items()}

    def by(self, metric: str) -> "tuple[Evaluation, str]":
        """Return the evaluation that has a metric, by image or by patient, and the metric's name there."""
        if metric.startswith(PATIENT) and self.patients:
            return self.patients, metric.removeprefix(PATIENT)
        return self, metric

    def kinds(self, names: Sequence[str]) -> list[str]:
        """Return phrases for the images that are few or missing, such as ``of a, b`` and ``without c``."""
        positives = [name for name in names if name not in self.negatives]
        of_classes = [f"of {', '.join(positives)}"] if positives else []
        return of_classes + [f"without {name}" for name in names if name in self.negatives]

    def caveats(self) -> list[str]:
        """Return the notes to print with the scores of images and of patients."""
        levels = self.levels()
        reverse = reversed(levels.items())
        units = {kind: unit for unit, level in reverse for name in level.absent for kind in level.kinds([name])}
        notes = [f"no test {unit} {kind}" for kind, unit in units.items()]
        scores = [level.ensemble for level in levels.values()]
        notes += [sets.warning for one in scores for sets in (one.sets, one.label_sets) if sets]
        for unit, level in levels.items():
            if level.conditional:
                by = f" by {unit}" * (len(levels) > 1)
                few = ", ".join(level.kinds(level.conditional))
                notes.append(
                    f"averages{by} and their intervals (*) are conditional on the few test groups {few} (fewer than "
                    f"{GROUPS_FOR_INTERVAL}): other patients may give other values"
                )
        return list(filter(None, notes))

    @property
    def mark(self) -> str:
        """``*``, which marks averages over classes and their intervals, if a class has too few groups; else ""."""
        return "*" if self.conditional else ""
