"""Everything about the results of a search that depends on its task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from analysis.ensembles.choose_rule import Comparison
from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import EnsembleResult
from analysis.statistics.baselines import Baseline
from analysis.statistics.diversity import Diversity
from analysis.statistics.resampling import Sample
from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.operating_point import IMAGE


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
        has_patients: True if the results for a patient's images can be combined.
    """

    task: ClassVar[str]
    sort_params: ClassVar[tuple[str, ...]]
    has_views: ClassVar[bool]
    has_patients: ClassVar[bool] = False

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
        """Check that the task can do what the user wishes, with this healthy class.

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
    def diversity(predictions: NDArray[Any], sample: Sample) -> Diversity:
        """Return how much the members disagree."""

    @staticmethod
    @abstractmethod
    def combined(predictions: NDArray[Any], combination: Combination) -> NDArray[Any]:
        """Return the ensemble's predictions, as a sample scores them, from those of its members."""

    @staticmethod
    def by_unit(
        combined: NDArray[Any],
        combination: Combination,  # noqa: ARG004
        sample: Sample,
    ) -> dict[str, tuple[NDArray[Any], Sample]]:
        """Return an ensemble's predictions and their sample by unit that is scored: images and, if known, patients."""
        return {IMAGE: (combined, sample)}

    @staticmethod
    @abstractmethod
    def evaluate(predictions: NDArray[Any], combination: Combination, sample: Sample, best_member: int) -> Evaluation:
        """Score an ensemble and its members on ``test``.

        Args:
            predictions: Predictions of the members on the sample.
            combination: Fitted rule of the ensemble.
            sample: Images of ``test``.
            best_member: Position of the member with the best score on ``select``.
        """

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
