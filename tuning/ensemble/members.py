"""Choosing the trials that become members of an ensemble."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import optuna
from rich.console import Console

from analysis.ensembles.decisions import DEFAULT_DECISIONS, DecisionRules
from analysis.trials import TrialRecord, best_first, ranked, read_trials
from trainables.core.errors import CheckpointError, UserError, first_line
from trainables.worker.checkpoint_io import read_models
from tuning.console import say


@dataclass(frozen=True)
class EnsembleRequest:
    """Options for building an ensemble.

    Attributes:
        metric: Metric that members and rules are chosen by.
        k: Number of trials to take, best on ``tune`` first.
        members: Trial numbers to take instead.
        rule: Ensemble rule to take regardless of the comparison, or None.
        views: Views of each image that members average over; must match those of ``infer``.
        folds: Number of folds a member must have finished; 0 without cross-validation.
        decisions: Wishes for operating points and prediction sets.
    """

    metric: str
    k: int = 5
    members: tuple[int, ...] = ()
    rule: str | None = None
    views: str = "none"
    folds: int = 0
    decisions: DecisionRules = DEFAULT_DECISIONS

    def allows(self, record: TrialRecord) -> bool:
        """Return True if a trial has finished all folds, so that it has a prediction of every image."""
        return bool(record.epochs) and record.epochs[-1].epoch >= self.folds


def choose_members(study: optuna.Study, request: EnsembleRequest, console: Console) -> list[TrialRecord]:
    """Return the requested trials, or the best k with an intact checkpoint; best first.

    Raises:
        UserError: A requested trial has no checkpoint, or a damaged one.
    """
    records = read_trials(study)
    if not request.members:
        candidates = filter(request.allows, ranked(records, request.metric))
        return list(itertools.islice(_intact(candidates, console), request.k))
    available = {record.number: record for record in records if request.allows(record)}
    missing = [number for number in request.members if number not in available]
    if missing:
        numbers = ", ".join(map(str, available)) or "none"
        raise UserError(f"members must be trials with a checkpoint ({numbers}), but got {missing[0]}")
    requested = best_first([available[number] for number in dict.fromkeys(request.members)], request.metric)
    members = list(_intact(requested, console))
    if len(members) < len(requested):
        raise UserError("members must have intact checkpoints: leave out the trials named above")
    return members


def _intact(records: Iterable[TrialRecord], console: Console) -> Iterator[TrialRecord]:
    """Yield the trials whose checkpoint can be read; name the others on the console."""
    for record in records:
        try:
            read_models(record.best.checkpoint if record.best else "")
        except (CheckpointError, OSError) as error:
            say(console, f"trial {record.number} is left out of the ensemble: {first_line(error)}", "yellow")
        else:
            yield record
