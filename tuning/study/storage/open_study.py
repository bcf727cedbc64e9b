"""Storage, sampler and pruner of a search's study."""

import math
import warnings
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage

from analysis.trials import read_trial
from trainables.core.errors import UserError, first_line
from trainables.core.metric_names import Objective
from trainables.core.seeds import derive_seed
from tuning.study.mutation_sampler import MutationSampler
from tuning.study.storage.journal import StudyJournal
from tuning.study.storage.single_writer_storage import SingleWriterStorage
from tuning.study.successive_halving import REDUCTION, PausingHalving, rungs
from tuning.study.two_objective_sampler import TwoObjectiveSampler

# Number of trials that end before TPE suggests any, if all run in full. Optuna's default.
_STARTUP = 10
JOURNAL = "study.journal"


def study_storage(folder: Path, url: str | None) -> optuna.storages.BaseStorage:
    """Return the database at ``url``, or without a URL the journal file in the search's folder.

    Raises:
        UserError: The database cannot be reached.
    """
    if url is None:
        return StudyJournal(folder / JOURNAL)
    try:
        # The ping replaces connections that have ended, because the server was restarted for example.
        return SingleWriterStorage(RDBStorage(url, engine_kwargs={"pool_pre_ping": True}))
    except Exception as error:  # a missing driver package, a wrong address, a refused password, ...
        message = f"--study-storage must be the URL of a database that can be reached, but: {first_line(error)}"
        raise UserError(message) from error


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    objective: Objective,
    epochs: int,
    seed: int,
    pruning: bool = True,
) -> optuna.Study:
    """Open the study of a search, or create it.

    If the search began with known configurations, most trials are mutations of the best ones (``MutationSampler``). The
    others come from TPE (Bergstra et al. 2011), multivariate within each group of the conditional space, with a
    constant liar for running and paused trials. The pruner is ``PausingHalving``, whose True means a pause, not a stop;
    without ``pruning`` every trial runs in full. With two metrics, the study optimises and prunes by the first one. TPE
    then samples every trial and sees both.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        direction="minimize" if objective.minimized else "maximize",
        pruner=PausingHalving(rungs(epochs)) if pruning else NopPruner(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `multivariate`, `group` and `constant_liar`
        # The seed depends on the number of trials: otherwise a resumed search would repeat its first draws.
        sampler = TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            # Paused trials have not ended: of the first trials, only about one in four runs in full.
            n_startup_trials=math.ceil(_STARTUP / REDUCTION ** len(rungs(epochs))) if pruning else _STARTUP,
            seed=derive_seed(seed, len(study.get_trials(deepcopy=False))),
        )
    if objective.second is not None:
        study.sampler = TwoObjectiveSampler(sampler, objective.names, partial(_both, objective.names))
    else:
        study.sampler = MutationSampler(sampler, seed)
    return study


def _both(metrics: tuple[str, ...], trial: optuna.trial.FrozenTrial) -> tuple[float, float]:
    first, second = read_trial(trial).objectives(metrics)
    return first, second
