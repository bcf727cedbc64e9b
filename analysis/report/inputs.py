"""What a report tells of, gathered from the study, the data and the members by whoever makes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import optuna
from numpy.typing import NDArray

from analysis.ensembles.choose_rule import Comparison
from analysis.ensembles.evaluation import Evaluation
from analysis.trials import TrialRecord, best_first, read_trials
from trainables.core.data.dataset import Dataset
from trainables.core.inspect.grad_cam import Answer, Question
from trainables.core.inspect.latency import Profile

_FIXED = "fixed_params"  # where Optuna keeps what ``enqueue_trial`` was given


@dataclass(frozen=True)
class Search:
    """A search, at its end or before.

    Attributes:
        study: Its record.
        space: The space's name.
        metric: The objective, a bare name.
        epochs: Of a full trial.
        rungs: Epochs at which trials are compared and the worse ones stopped.
        data: What was searched on.
        names: N file names, or nothing where they are not known.
    """

    study: optuna.Study
    space: str
    metric: str
    epochs: int
    rungs: tuple[int, ...]
    data: Dataset
    names: Sequence[str] = ()

    @cached_property
    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return read_trials(self.study)

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """Those that have reported, by the objective at their best epoch; without one that is finite last."""
        reported = [record for record in self.records if record.epochs]
        scored = [record for record in reported if np.isfinite(_best(record, self.metric))]
        return best_first(scored, self.metric) + [record for record in reported if record not in scored]

    @cached_property
    def recipes(self) -> set[int]:
        """Numbers of the trials that were the space's recipes."""
        return {trial.number for trial in self.study.get_trials(deepcopy=False) if _FIXED in trial.system_attrs}


@dataclass(frozen=True)
class Ensemble:
    """The ensemble of a search, whose test set was opened.

    Attributes:
        members: Its trials, best on ``tune`` first.
        alone: (M,) each member's own score on ``select``.
        comparison: Of the rules, and the one that was chosen.
        views: What members see of an image.
        evaluation: Its scores on ``test``.
        opened: How often the test set was opened, in words.
        model: Where it is registered, ``models:/NAME/VERSION``, or None.
        outcome: What became of it in the registry, and why, in a sentence.
        on_test: (M, n, C) predictions that were kept when the test set was opened, or None.
        why_none: Why there are none.
    """

    members: Sequence[TrialRecord]
    alone: Sequence[float]
    comparison: Comparison
    views: str
    evaluation: Evaluation
    opened: str
    model: str | None
    outcome: str
    on_test: NDArray[np.float32] | None
    why_none: str = ""

    @property
    def best(self) -> int:
        """The position of the member that is best on ``select``: the one that is looked into."""
        return self.evaluation.best_member

    @property
    def checkpoints(self) -> list[str]:
        """Where the members are."""
        return [record.best.checkpoint for record in self.members if record.best]


@dataclass(frozen=True)
class Looked:
    """What was measured of the members.

    Attributes:
        profiles: Of each; none where that failed.
        question: What the best member was asked.
        answer: What it answered, or None.
        why_none: Why there is no answer.
        shown: (m,) positions in ``test`` whose masks were made, of a segmentation.
        masks: (m, S, S) uint8 classes by the ensemble, or None.
    """

    profiles: Sequence[Profile] = ()
    question: Question | None = None
    answer: Answer | None = None
    why_none: str = ""
    shown: NDArray[np.int64] | None = None
    masks: NDArray[np.uint8] | None = None


def _best(record: TrialRecord, metric: str) -> float:
    return record.epochs[-1].metrics.get(f"best_{metric}", float("nan"))
