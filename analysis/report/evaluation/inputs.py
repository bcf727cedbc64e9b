"""Result of an external evaluation."""

from dataclasses import dataclass, field
from typing import Any

from analysis.ensembles.evaluation import Evaluation
from analysis.statistics.calibration import Bin
from analysis.statistics.external.calibration_line import CalibrationLine
from analysis.statistics.external.net_benefit import DecisionCurve, PredictiveValue
from analysis.statistics.external.two_sample_test import TwoSampleTest

Interval = tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """Probabilities of one class or label against the truth, by image.

    Attributes:
        name: Class or label.
        positives: Images that have it.
        line: Calibration intercept and slope, or None.
        reliability: Bins of a reliability diagram.
        ece: Expected calibration error of these bins.
        curve: Decision curve; None if all images are alike.
    """

    name: str
    positives: int
    line: CalibrationLine | None
    reliability: tuple[Bin, ...]
    ece: float
    curve: DecisionCurve | None


@dataclass(frozen=True)
class PointCurve:
    """Decision curve of what an operating point calls positive.

    Attributes:
        positive: Positive class or label, or a phrase such as ``any but NORMAL``.
        curve: Decision curve.
    """

    positive: str
    curve: DecisionCurve


@dataclass(frozen=True)
class AtPrevalence:
    """Predictive values of an operating point at a stated prevalence.

    Attributes:
        positive: Positive class or label.
        unit: ``image`` or ``patient``.
        ppv: Positive predictive value.
        npv: Negative predictive value.
    """

    positive: str
    unit: str
    ppv: PredictiveValue
    npv: PredictiveValue


@dataclass(frozen=True)
class Subgroup:
    """Scores of the images with one value of a column.

    Attributes:
        name: The value, or a range of values.
        images: Number of images.
        groups: Number of groups.
        figures: Scores by name; those that are undefined are missing.
        intervals: 95% intervals by name.
    """

    name: str
    images: int
    groups: int
    figures: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class Division:
    """Subgroups by one column, and tests whether they differ.

    Attributes:
        column: Name of the column.
        subgroups: All values.
        p_values: Permutation test of each score; missing if it cannot be tested.
        corrected: The same, corrected for the number of tests of the whole evaluation (Holm).
    """

    column: str
    subgroups: tuple[Subgroup, ...]
    p_values: dict[str, float]
    corrected: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A score on the new images and on the internal test set.

    Attributes:
        metric: Name of the metric.
        external: Score on the new images.
        internal: Score on the internal test set, as stored with the model's run.
        internal_interval: Its 95% interval, or None.
        interval: 95% interval of external minus internal; None if either score has no interval.
    """

    metric: str
    external: float
    internal: float
    internal_interval: Interval | None
    interval: Interval | None


@dataclass(frozen=True)
class Shift:
    """Distance of the new images from the training images.

    Attributes:
        images: Number of images.
        unlike: Those that the model's own check calls unlike the training images.
        far: Images whose features are farther from training images than 1% of the held-out images of the search;
            None if the model does not store features.
        median: Median of the distances, where 1 is that limit; None without features.
        test: Classifier two-sample test on the features; None without features or with too few groups.
    """

    images: int
    unlike: int
    far: int | None = None
    median: float | None = None
    test: TwoSampleTest | None = None


@dataclass(frozen=True)
class Copies:
    """Images that are copies of images of the search, and were left out.

    Attributes:
        images: Their number; None if it is not known.
        method: How they were found, or why they could not be, as a sentence without its full stop.
        related: Number of other images of their groups, such as of the same patients, which were left out as well.
        names: Names of the first copies.
    """

    images: int | None
    method: str
    related: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recalibrated:
    """Scores after a recalibration on a part of the new images, on the other part.

    Attributes:
        share: Share of the groups it was fitted to.
        images: Images it was fitted to, which are not scored.
        temperatures: Fitted temperatures.
        biases: Fitted biases.
        evaluation: Scores after recalibration.
        outcomes: Calibration after recalibration.
    """

    share: float
    images: int
    temperatures: tuple[float, ...]
    biases: tuple[float, ...]
    evaluation: Evaluation
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class ExternalResult:
    """An external evaluation of a registered model.

    Attributes:
        model: The model as the user named it, with its version where it has one.
        digest: SHA-256 of the model's files.
        place: Place of the data.
        fingerprint: SHA-256 of the data.
        metric: Metric of the model's search, which leads; if it is one of patients and there are none, by image.
        class_names: Classes that were scored.
        images: Number of scored images.
        evaluation: Scores at the model's own probabilities and thresholds.
        outcomes: Calibration and decision curve of each class or label; of two classes, only of the positive one;
            empty for masks. The curves of more than two classes are at the images' own shares of the classes, others
            at the stated prevalence.
        prevalence: Stated prevalence, or None for that of the images. With several labels, it is assumed for each.
        at_prevalence: Predictive values at it.
        divisions: Subgroups.
        differences: Differences to the internal test scores; empty if these are unknown.
        shift: How unlike the training images the new ones are.
        copies: Copies of images of the search.
        left_out: Number of images that were not scored, by reason.
        recalibrated: Scores after recalibration, or None.
        earlier: Earlier evaluations of this model on the same images; None if MLflow does not know.
        notes: Facts that readers must know.
        request: Place of the images, and where their labels and groups are, to score them again.
        own_size: Scores of masks at the images' own sizes, at which they are served; None without masks.
        image_fingerprint: SHA-256 of the images, whatever their labels; "" in results of earlier versions.
        curve_at_prevalence: With more than two classes, the decision curve of the operating point's positive at the
            stated prevalence; else None.
    """

    model: str
    digest: str
    place: str
    fingerprint: str
    metric: str
    class_names: tuple[str, ...]
    images: int
    evaluation: Evaluation
    outcomes: tuple[Outcome, ...]
    prevalence: float | None
    at_prevalence: tuple[AtPrevalence, ...]
    divisions: tuple[Division, ...]
    differences: tuple[Difference, ...]
    shift: Shift
    copies: Copies
    left_out: dict[str, int]
    recalibrated: Recalibrated | None
    earlier: int | None
    notes: tuple[str, ...]
    request: dict[str, Any] = field(default_factory=dict)
    own_size: Evaluation | None = None
    image_fingerprint: str = ""
    curve_at_prevalence: PointCurve | None = None

    @property
    def has_labels(self) -> bool:
        """True if an image can have several labels, each with a prevalence of its own."""
        return bool(self.outcomes) and not self.evaluation.ensemble.recalls

    @property
    def leading(self) -> tuple[str, float | None, Interval | None]:
        """The leading metric with its value and its interval."""
        evaluation, name = self.evaluation.by(self.metric)
        scores = evaluation.ensemble
        return self.metric, scores.metrics.get(name), scores.intervals.get(name)

    def headline(self) -> str:
        """Return the leading metric with its interval, such as ``auroc 0.833 [0.750, 0.901]``."""
        metric, value, interval = self.leading
        bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        return f"{metric} {'undefined' if value is None else f'{value:.3f}'}{bounds}"
