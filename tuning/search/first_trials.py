"""Trials that a search tries first: the best of earlier searches, the space's portfolio, then its recipes."""

import os
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import optuna

from analysis.trials import ORIGIN, RECIPE, TrialRecord, ranked, read_trials
from search_spaces.nearest_params import fit_params
from trainables.core.errors import UserError
from tuning.search.plan import Plan
from tuning.study.attributes import read_first_trials, read_identity, save_first_trials
from tuning.study.search_folder import existing_folder

# Number of trials to take from each earlier search, and from all of them together.
PER_SEARCH, MOST = 3, 10


def warm_start(names: Sequence[str], plan: Plan, storage: str, study_url: str | None) -> list[dict[str, Any]]:
    """Return the parameters of the best trials of earlier searches, as the plan's space can express them.

    The best trials of all searches come first, then the second best, and so on.

    Args:
        names: Names of searches in ``storage``, or folders of searches.
        plan: Plan of the new search.
        storage: Folder or URI of all searches.
        study_url: Database of the studies; None for journal files.

    Raises:
        UserError: A search does not exist, has another task or no trial that has ended, or shares no parameter with
            the space.
    """
    best = [_best_trials(name, plan, storage, study_url) for name in names]
    in_turn = [record for record in chain.from_iterable(zip_longest(*best)) if record is not None]
    return _without_repeats([_fitted(record, plan) for record in in_turn[:MOST]])


def _fitted(record: TrialRecord, plan: Plan) -> dict[str, Any]:
    fitted = fit_params(lambda trial: plan.space.configuration(trial, plan.backbones), record.params)
    # Otherwise it would be the middle of the space, whatever the earlier search found.
    if not fitted.keys() & record.params.keys():
        searched, earlier = (", ".join(params) or "none" for params in (fitted, record.params))
        raise UserError(
            f"--warm-start needs a search with a parameter of {plan.space.name}, such as {searched}, but got one with "
            f"{earlier}: give them the same names, or omit --warm-start"
        )
    return fitted


def _best_trials(name: str, plan: Plan, storage: str, study_url: str | None) -> list[TrialRecord]:
    study = _study(name, storage, study_url)
    identity = read_identity(study)
    folds = identity.get("cv-folds") or 0  # the score of a trial that lacks some is no estimate of the whole
    records = [each for each in ranked(read_trials(study), identity["metric"]) if each.epochs[-1].epoch >= folds]
    if not records:
        ended = f"finished all {folds} folds" if folds else "ended"
        raise UserError(f"--warm-start needs a search with a trial that has {ended}, but {name!r} has none")
    task = records[0].config.get("task", "classification")
    if task != plan.space.task:
        raise UserError(f"--warm-start needs a search with the same task, {plan.space.task}, but {name!r} is a {task}")
    return records[:PER_SEARCH]


def _study(name: str, storage: str, study_url: str | None) -> optuna.Study:
    """Return the study of a search in ``storage``, else that of the search whose folder ``name`` is."""
    places = [(storage, name, study_url)]
    if os.path.isdir(name):  # noqa: PTH112  Path.is_dir raises OSError for a name that is too long
        folder = Path(name).resolve()
        places.append((str(folder.parent), folder.name, None))
    for place in places:
        try:
            return existing_folder(*place)[1]
        except UserError as error:
            reason = error
    raise UserError(
        f"--warm-start must name a search in --storage, or its folder, but got {name[:200]!r}: {reason}"
    ) from reason


def enqueue_first_trials(study: optuna.Study, plan: Plan, trials: int, warm: Sequence[dict[str, Any]]) -> None:
    """Enqueue the trials that are tried first, unless an earlier driver has.

    The list is saved before the first one is enqueued, so that a resumed search has the same, whatever became of the
    earlier searches and of the portfolio. A search that an older version began has recipes only.
    """
    first, began = read_first_trials(study), len(study.get_trials(deepcopy=False))
    if first is None:
        first = plan.first_trials(trials, warm)
        if began:
            first = [trial for trial in first if trial.origin == RECIPE]
        save_first_trials(study, first)
    for trial in first[began:]:  # the list is enqueued before any other trial, so its beginning may be there
        study.enqueue_trial(trial.params, {ORIGIN: trial.origin})


def _without_repeats(params: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for place, one in enumerate(params) if one not in params[:place]]
