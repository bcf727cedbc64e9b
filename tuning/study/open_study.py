"""Where a search's study is stored, and how it samples and prunes."""

import math
import warnings
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage, RDBStorage

from analysis.trials import read_trial
from trainables.core.errors import UserError, first_line
from trainables.core.metric_names import Objective
from trainables.core.seeds import derive_seed
from tuning.study.journal import Journal
from tuning.study.single_writer_storage import SoleWriter
from tuning.study.two_objective_sampler import TwoObjectiveSampler

# Of the trials that reach the rung, one in this many goes on.
REDUCTION = 3
JOURNAL = "study.journal"


def study_storage(folder: Path, url: str | None) -> optuna.storages.BaseStorage:
    """The database at ``url``, else a journal file in the search's folder.

    Raises:
        UserError: The database does not answer.
    """
    if url is None:
        return JournalStorage(Journal(folder / JOURNAL))
    try:
        return SoleWriter(RDBStorage(url))
    except Exception as error:  # a driver may be missing, an address wrong, a password refused: all the user's to mend
        message = f"--study-storage must be the URL of a database that answers, but: {first_line(error)}"
        raise UserError(message) from error


def first_rung(epochs: int) -> int:
    """The epoch at which trials are compared: a third of the full length.

    A rung before that stops trials that start slowly, such as those of small learning rates and few frozen stages, and
    end best (benchmarks/searchers.py).
    """
    return math.ceil(epochs / REDUCTION)


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    objective: Objective,
    epochs: int,
    seed: int,
    pruning: bool = True,
) -> optuna.Study:
    """Opens or creates the study of a search.

    The sampler is TPE (Bergstra et al. 2011), multivariate within each group of the conditional space, told of running
    trials by the constant liar. The pruner is asynchronous successive halving (Li et al. 2020) on epochs, from
    ``first_rung`` on; without ``pruning`` every trial runs in full. With a second metric the study still has
    the first alone, by which trials are pruned, and the sampler is shown both.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        direction="minimize" if objective.minimized else "maximize",
        pruner=SuccessiveHalvingPruner(min_resource=first_rung(epochs), reduction_factor=REDUCTION)
        if pruning
        else NopPruner(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `multivariate`, `group` and `constant_liar`
        # Seeded by the trials there are, or a resumed search would draw again what it drew at first.
        sampler: BaseSampler = TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=derive_seed(seed, len(study.get_trials(deepcopy=False))),
        )
    if objective.second is not None:
        sampler = TwoObjectiveSampler(sampler, objective.names, partial(_both, objective.names))
    study.sampler = sampler
    return study


def _both(metrics: tuple[str, ...], trial: optuna.trial.FrozenTrial) -> tuple[float, float]:
    first, second = read_trial(trial).objectives(metrics)
    return first, second
