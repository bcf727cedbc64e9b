"""Inputs of a report: the search, its ensemble, and the inspection of the ensemble's members."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import optuna
from numpy.typing import NDArray

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble, EnsembleResult
from analysis.trials import TrialRecord, best_first, read_trials
from trainables.core.data.dataset import Dataset
from trainables.core.inspect.explanation import Explanation, ExplanationRequest
from trainables.core.inspect.latency import Profile


@dataclass(frozen=True)
class SearchInputs:
    """A search, finished or still running.

    Attributes:
        study: Study of the search.
        space: Name of the search space.
        metric: Bare name of the objective.
        epochs: Epochs of a full trial.
        rungs: Epochs, or folds of a cross-validated search, at which trials are compared and the worse ones paused.
        data: Data set of the search.
        file_names: N file names; empty if unknown.
        study_texts: Texts of the study file by key.
        metadata: Further columns of the data that identify nobody: name to N values.
        unlisted: Number of images that the table of labels does not name.
        openings: Number of times that this search, or ``tune-ensemble`` after it, opened the test set.
    """

    study: optuna.Study
    space: str
    metric: str
    epochs: int
    rungs: tuple[int, ...]
    data: Dataset
    file_names: Sequence[str] = ()
    study_texts: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unlisted: int = 0
    openings: int = 0

    @property
    def unit(self) -> str:
        """Unit of a trial's reports: ``epoch``, or ``fold`` if the search is cross-validated."""
        return "fold" if self.data.folds else "epoch"

    @cached_property
    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return read_trials(self.study)

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """Trials that have reported, best objective first; those without a finite value last."""
        reported = [record for record in self.records if record.epochs]
        scored = [record for record in reported if best_value(record, self.metric) is not None]
        return best_first(scored, self.metric) + [record for record in reported if record not in scored]


@dataclass(frozen=True, eq=False)
class EnsembleInputs:
    """The ensemble of a search whose test set was opened, and its saved predictions.

    Attributes:
        result: The ensemble, its test scores and its registration.
        model_name: Name of the registered model.
        test_predictions: (M, n, C) predictions saved when the test set was opened, or None.
        why_no_predictions: Reason why there are no predictions.
    """

    result: EnsembleResult
    model_name: str
    test_predictions: NDArray[np.float32] | None
    why_no_predictions: str = ""

    @property
    def chosen(self) -> ChosenEnsemble:
        """The members, their scores on ``select``, and the comparison of rules."""
        return self.result.chosen

    @property
    def evaluation(self) -> Evaluation:
        """Scores on ``test``."""
        return self.result.evaluation

    @property
    def best_member(self) -> int:
        """The position of the member that is best on ``select``, which is the one inspected."""
        return self.evaluation.best_member

    @property
    def best_trial(self) -> TrialRecord:
        """The trial of that member."""
        return self.chosen.members[self.best_member]

    @property
    def model(self) -> str | None:
        """The registered version as ``models:/NAME/VERSION``; None if the ensemble is not registered."""
        registration = self.result.registration
        return f"models:/{self.model_name}/{registration.version}" if registration else None

    @property
    def outcome(self) -> str:
        """A sentence about the registration."""
        registration = self.result.registration
        return f"{registration.describe(self.model_name)}." if registration else "The ensemble is not registered."


@dataclass(frozen=True, eq=False)
class Inspection:
    """Measurements of the ensemble's members.

    Attributes:
        profiles: Size and latency of each member; empty if the inspection failed.
        request: Images that the best member was inspected on; None for segmentation.
        explanation: Features and heat maps of the best member, or None.
        missing: Reason why the inspection failed.
        mask_positions: (m,) positions in ``test`` whose masks were predicted; None for classification.
        masks: (m, S, S) uint8 classes predicted by the ensemble, or None.
    """

    profiles: Sequence[Profile] = ()
    request: ExplanationRequest | None = None
    explanation: Explanation | None = None
    missing: str = ""
    mask_positions: NDArray[np.int64] | None = None
    masks: NDArray[np.uint8] | None = None


def best_value(record: TrialRecord, metric: str) -> float | None:
    """Return a trial's objective at its best epoch, or None if it has no finite value."""
    value = record.epochs[-1].metrics.get(f"best_{metric}", math.nan) if record.epochs else math.nan
    return value if math.isfinite(value) else None
