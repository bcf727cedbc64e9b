"""From a finished search to its ensemble: choose it, then open the test set once.

The choice and the test scores go into the study first, so that a later failure of MLflow or the driver does not make
another opening necessary.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble, EnsembleResult
from analysis.ensembles.tasks.choose import task_results
from analysis.statistics.selection_bias import SelectionBias, best_of_trials
from analysis.trials import TrialRecord, checkpoints_of, ranked, read_trials
from trainables.core.data.dataset import Dataset
from trainables.core.errors import CheckpointError
from trainables.worker.checkpoint_io import read_out_of_fold
from tuning.ensemble.members import EnsembleRequest, choose_members
from tuning.ensemble.saved_ensemble import is_saved, load_ensemble, save_ensemble
from tuning.study.opening_ledger import count_opening, openings, split_fingerprint
from tuning.tracking.outbox import Tracker

# Maps checkpoints and the name of a split to predictions of its images, as ``trainables.worker.inference.infer`` does.
Infer = Callable[[Sequence[str], str], NDArray[Any]]


def find_ensemble(
    study: optuna.Study, data: Dataset, request: EnsembleRequest, infer: Infer, tracker: Tracker, console: Console
) -> EnsembleResult | None:
    """Choose and score the ensemble of a search; None if no trial finished.

    Opens the test set, unless the study already holds the scores of these members.
    """
    members = choose_members(study, request, console)
    if not members:
        return None
    fingerprint = split_fingerprint(data, "test")
    if is_saved(study, members, request):
        return load_ensemble(study, openings(study, fingerprint, tracker.uri, tracker.parent_id))
    chosen = choose_ensemble(members, data, request, infer, selection_bias(study, data, request))
    count_opening(study, fingerprint)  # counted first: a crash while scoring must not hide an opening
    opened = openings(study, fingerprint, tracker.uri, tracker.parent_id)
    evaluation = score_on_test(chosen, data, infer)
    save_ensemble(study, chosen, evaluation)
    return EnsembleResult(chosen, evaluation, opened)


def choose_ensemble(
    members: Sequence[TrialRecord],
    data: Dataset,
    request: EnsembleRequest,
    infer: Infer,
    bias: SelectionBias | None = None,
) -> ChosenEnsemble:
    """Choose the rule that combines the members, on ``select`` or on out-of-fold predictions.

    Args:
        members: Trials, best first.
        data: Data set of the search.
        request: Metric, views and, if the user forced one, the rule.
        infer: Predicts with the members.
        bias: Selection bias of the members, if known.
    """
    task = task_results(data)
    sample = task.sample(data.selection, request.metric)
    predictions = infer(checkpoints_of(members), data.selection)
    singles = np.stack([task.single(one, sample, request.decisions) for one in predictions[: len(members)]])
    comparison = task.compare(predictions, sample, request.rule, request.decisions)
    scores = (task.score_single(one, sample, comparison.combination, request.decisions) for one in singles)
    return ChosenEnsemble(
        members=tuple(members),
        member_scores=tuple(scores),
        comparison=comparison,
        diversity=task.diversity(singles, sample),
        views=request.views,
        images=len(sample.labels),
        groups=len(sample.members),
        folds=len(data.folds),
        selection_bias=bias,
        decisions=request.decisions,
    )


def selection_bias(study: optuna.Study, data: Dataset, request: EnsembleRequest) -> SelectionBias | None:
    """Estimate how much of the best trials' scores is luck of selection; None without folds."""
    if not data.folds:
        return None
    predictions = []
    for checkpoint in checkpoints_of(filter(request.allows, ranked(read_trials(study), request.metric))):
        with suppress(CheckpointError):  # damaged
            predictions.append(read_out_of_fold(checkpoint).of(data.splits[data.selection]))
    if not predictions:
        return None
    sample = task_results(data).sample(data.selection, request.metric)
    return best_of_trials(predictions, sample, len(request.members) or request.k)


def score_on_test(chosen: ChosenEnsemble, data: Dataset, infer: Infer) -> Evaluation:
    """Score an ensemble and its members on ``test``. Call ``count_opening`` before."""
    task, comparison = task_results(data), chosen.comparison
    predictions = infer(chosen.checkpoints, "test")
    sample = task.sample("test", comparison.metric)
    return task.evaluate(predictions, comparison.combination, sample, chosen.best_member)
