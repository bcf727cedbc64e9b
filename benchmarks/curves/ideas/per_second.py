"""Expected improvement per second (Snoek et al. 2012) instead of expected improvement."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from sklearn.ensemble import ExtraTreesRegressor

from analysis.trials import read_trial
from benchmarks.curves.make_portfolio import choose
from benchmarks.curves.peers.ray_tune import Ours, ours_from
from benchmarks.curves.replay import Searcher, Task
from benchmarks.curves.table import Floats
from search_spaces.space import Params

LEAST_TRIALS = 8  # with known seconds, before seconds are predicted


def ours_per_second(task: Task) -> Searcher:
    """Return ``tune-run`` with improvement per second."""
    return _per_second(task, [*choose(task.others), *task.recipes])


def sampled_per_second(task: Task) -> Searcher:
    """Return the same without portfolio and recipes."""
    return _per_second(task, ())


def _per_second(task: Task, points: Sequence[Params]) -> Ours:
    search = ours_from(task, points)
    divide_by_seconds(search.steering.study)
    return search


def divide_by_seconds(study: optuna.Study) -> None:
    """Divide the acquisition function of a study's TPE sampler by the predicted seconds of an epoch."""
    sampler: Any = study.sampler
    assert isinstance(sampler, TPESampler)
    log_improvement = sampler._compute_acquisition_func

    def per_second(samples: Mapping[str, Floats], *estimators: Any) -> Floats:
        values: Floats = log_improvement(samples, *estimators) - log_seconds(study, samples)
        return values

    sampler._compute_acquisition_func = per_second


def log_seconds(study: optuna.Study, samples: Mapping[str, Floats]) -> Floats:
    """Return the (n,) predicted logarithms of an epoch's seconds, or zeros while few trials have reported.

    Args:
        study: Study of a search.
        samples: (n,) values of each parameter, as the sampler represents them.
    """
    names = list(samples)
    known = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.intermediate_values and samples.keys() <= trial.params.keys()
    ]
    if len(known) < LEAST_TRIALS:
        return np.zeros(len(samples[names[0]]))
    features = [[trial.distributions[name].to_internal_repr(trial.params[name]) for name in names] for trial in known]
    seconds = [np.log(read_trial(trial).epochs[-1].metrics["epoch_seconds"]) for trial in known]
    forest = ExtraTreesRegressor(32, min_samples_leaf=2, random_state=0).fit(features, seconds)
    predicted: Floats = forest.predict(np.column_stack([samples[name] for name in names]))
    return predicted
