"""Everything about the results of a search that depends on its task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from numpy.typing import NDArray

from analysis.ensembles.compare_rules import Comparison
from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.ensembles.result import EnsembleResult
from analysis.statistics.baselines import Baseline
from analysis.statistics.diversity import Diversity
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Sample, permutation_test
from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.operating_point import IMAGE, PATIENT


@dataclass(frozen=True)
class ResultTable:
    """A table of test scores.

    Attributes:
        title: Title.
        headings: Column headings. All columns but the first hold numbers.
        rows: Cells, row by row.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


class TaskResults(ABC):
    """The part of comparing, scoring and showing ensembles that depends on the task.

    Predictions are arrays whose first axis is the models; the task decides what the others are.

    Attributes:
        task: Name of the task, as in a training configuration.
        sort_params: Parameters that MLflow's list of trials shows.
        has_views: True if members can average over views of an image.
        has_patients: True if a registered model combines the predictions for a patient's images.
        has_probabilities: True if predictions are probabilities, which have calibration and decision curves.
        has_soups: True if the weights of trials can be averaged.
    """

    task: ClassVar[str]
    sort_params: ClassVar[tuple[str, ...]]
    has_views: ClassVar[bool]
    has_patients: ClassVar[bool] = False
    has_probabilities: ClassVar[bool] = True
    has_soups: ClassVar[bool] = False

    def __init__(self, data: Dataset):
        self.data = data

    @staticmethod
    @abstractmethod
    def rules(members: int) -> tuple[str, ...]:
        """Return the names of the rules for this many members, simplest first."""

    @staticmethod
    @abstractmethod
    def output_columns(class_names: tuple[str, ...], combination: Combination) -> dict[str, str]:
        """Return the columns that a registered model with this combination outputs: MLflow's type by name."""

    @classmethod
    def check_decisions(cls, rules: DecisionRules, healthy: str | None) -> None:  # noqa: ARG003
        """Check that the task can apply the rules for decisions, with this healthy class.

        Raises:
            UserError: It cannot.
        """
        if rules != DecisionRules():
            raise UserError(f"--operating-point and --coverage are not available for a {cls.task}")

    @abstractmethod
    def sample(self, split: str, metric: str) -> Sample:
        """Return the labels and groups of a split, to score predictions by ``metric``."""

    @staticmethod
    @abstractmethod
    def compare(
        predictions: NDArray[Any], sample: Sample, rule: str | None = None, decisions: DecisionRules | None = None
    ) -> Comparison:
        """Compare all ensemble rules and choose one.

        Args:
            predictions: Predictions of the members on the sample.
            sample: Images that neither trained nor selected the members.
            rule: Rule to choose regardless of the comparison.
            decisions: Wishes for operating points and prediction sets.

        Raises:
            DataError: ``rule`` is unknown, or cannot be scored on this sample.
        """

    @staticmethod
    @abstractmethod
    def held_out(
        predictions: NDArray[Any], sample: Sample, rule: str, decisions: DecisionRules | None = None
    ) -> NDArray[Any]:
        """Return a rule's predictions of images that it was not fitted to, as a sample scores them.

        The arguments are those of ``compare``.
        """

    @staticmethod
    def single(
        member: NDArray[Any],
        sample: Sample,  # noqa: ARG004
        decisions: DecisionRules | None = None,  # noqa: ARG004
    ) -> NDArray[Any]:
        """Return one member's predictions as ``sample`` scores them: as they are, for tasks without decisions."""
        return member

    @staticmethod
    def score_single(
        predicted: NDArray[Any],
        sample: Sample,
        combination: Combination,
        decisions: DecisionRules | None = None,  # noqa: ARG004
    ) -> float:
        """Score predictions that ``single`` returned, with the patient rule of the member's ensemble."""
        return (sample.combined_as(combination) if isinstance(sample, PatientSample) else sample).score(predicted)

    @staticmethod
    @abstractmethod
    def diversity(predictions: NDArray[Any], sample: Sample) -> Diversity:
        """Return how much the members disagree, from the predictions that ``single`` returns."""

    @staticmethod
    @abstractmethod
    def combined(predictions: NDArray[Any], combination: Combination) -> NDArray[Any]:
        """Return the ensemble's predictions, as a sample scores them, from those of its members."""

    @staticmethod
    def by_unit(
        combined: NDArray[Any], combination: Combination, sample: Sample
    ) -> dict[str, tuple[NDArray[Any], Sample]]:
        """Return an ensemble's predictions and their sample by unit that is scored: images and, if known, patients."""
        if not isinstance(sample, PatientSample):
            return {IMAGE: (combined, sample)}
        patients = sample.combined_as(combination)
        return {IMAGE: (combined, patients.by_image), PATIENT: (patients.combined(combined), patients.by_patient)}

    @staticmethod
    @abstractmethod
    def members(predictions: NDArray[Any], combination: Combination) -> list[tuple[NDArray[Any], Combination]]:
        """Return each member's predictions as a sample scores them, and the rule that combines a patient's images."""

    @staticmethod
    @abstractmethod
    def score(predictions: NDArray[Any], combination: Combination, unit: str, sample: Sample) -> Scores:
        """Score one model's predictions for images or patients, without its decisions."""

    @classmethod
    def served(
        cls, combined: NDArray[Any], combination: Combination, sample: Sample
    ) -> dict[str, tuple[NDArray[Any], Sample]]:
        """Return the same as ``by_unit``, in the precision in which the served model decides."""
        return cls.by_unit(combined, combination, sample)

    @staticmethod
    def decided(
        scores: Scores,
        predictions: NDArray[Any],  # noqa: ARG004
        combination: Combination,  # noqa: ARG004
        unit: str,  # noqa: ARG004
        sample: Sample,  # noqa: ARG004
    ) -> Scores:
        """Add the scores of an ensemble's decisions about images or patients, if it makes any."""
        return scores

    @classmethod
    def evaluate_combined(cls, combined: NDArray[Any], combination: Combination, sample: Sample) -> Evaluation:
        """Score an ensemble without its members.

        Args:
            combined: Its predictions, as a sample scores them.
            combination: Fitted rule of the ensemble.
            sample: Labelled images.
        """
        served, levels = cls.served(combined, combination, sample), {}
        for unit, (predicted, of_unit) in cls.by_unit(combined, combination, sample).items():
            scores = cls.score(predicted, combination, unit, of_unit)
            scores = cls.decided(scores, served[unit][0], combination, unit, of_unit)
            levels[unit] = Evaluation.of(scores, of_unit)
        return replace(levels[IMAGE], patients=levels.get(PATIENT))

    @classmethod
    def evaluate(
        cls, predictions: NDArray[Any], combination: Combination, sample: Sample, best_member: int
    ) -> Evaluation:
        """Score an ensemble and its members on ``test``.

        Args:
            predictions: Predictions of the members on the sample.
            combination: Fitted rule of the ensemble.
            sample: Images of ``test``.
            best_member: Position of the member with the best score on ``select``.
        """
        combined = cls.combined(predictions, combination)
        by_unit = cls.by_unit(combined, combination, sample)
        own = [
            (rule, cls.by_unit(predicted, rule, sample)) for predicted, rule in cls.members(predictions, combination)
        ]
        is_best_member = combination.voters() == [best_member]

        def with_members(evaluation: Evaluation, unit: str) -> Evaluation:
            predicted, of_unit = by_unit[unit]
            best = own[best_member][1][unit][0]
            return replace(
                evaluation,
                members=tuple(cls.score(levels[unit][0], rule, unit, of_unit) for rule, levels in own),
                best_member=best_member,
                p_value=None if is_best_member else permutation_test(predicted, best, of_unit),
            )

        evaluation = with_members(cls.evaluate_combined(combined, combination, sample), IMAGE)
        of_patients = evaluation.patients and with_members(evaluation.patients, PATIENT)
        return replace(evaluation, patients=of_patients)

    def baselines(self, predictions: NDArray[Any], combination: Combination, metric: str) -> tuple[Baseline, ...]:  # noqa: ARG002
        """Score baselines on ``test`` and test an ensemble against each; empty for tasks without baselines.

        Args:
            predictions: Predictions of the members on ``test``.
            combination: Fitted rule of the ensemble.
            metric: Bare name of the metric.
        """
        return ()

    @abstractmethod
    def class_tables(self, evaluation: Evaluation) -> tuple[ResultTable, ...]:
        """Return tables of the ensemble's test scores by class."""

    @abstractmethod
    def files(self, result: EnsembleResult, header: str) -> dict[str, str]:
        """Return the text files to log with a result, by name; ``header`` begins each that people read."""
