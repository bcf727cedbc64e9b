"""A sampler for two objectives in a study that prunes by the first one."""

import math
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from trainables.core.metric_names import MINIMIZED

MINIMIZE, MAXIMIZE = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE


class TwoObjectiveSampler(BaseSampler):
    """Sampler that sees both objectives of a study that has only the first one.

    Optuna does not prune trials of a study with two objectives. Therefore the study has only the first one, by which
    trials are pruned, and the wrapped sampler gets a copy of the study in which each completed trial has both values.
    A trial with a value that is NaN counts as failed.

    Args:
        sampler: Sampler for two objectives, such as ``TPESampler`` (Ozaki et al. 2020).
        metrics: Bare names of the two objectives.
        values: Function that returns both values of a completed trial.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        metrics: tuple[str, ...],
        values: Callable[[FrozenTrial], tuple[float, float]],
    ):
        self._sampler = sampler
        self._directions = [MINIMIZE if metric in MINIMIZED else MAXIMIZE for metric in metrics]
        self._values = values
        self._last_copy: tuple[int, optuna.Study] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Delegate to the sampler, with the two-objective copy of the study."""
        return self._sampler.infer_relative_search_space(*self._copies(study, trial))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Delegate to the sampler, with the two-objective copy of the study."""
        return self._sampler.sample_relative(*self._copies(study, trial), search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Delegate to the sampler, with the two-objective copy of the study."""
        return self._sampler.sample_independent(*self._copies(study, trial), param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Delegate to the sampler."""
        self._sampler.reseed_rng()

    def _copies(self, study: optuna.Study, asking: FrozenTrial) -> tuple[optuna.Study, FrozenTrial]:
        """Return an in-memory study with both values per trial, and its copy of the trial that asks.

        The study is made once for each trial that asks. TPE writes to the trial by its ID, which in a database is not
        that of the copy.
        """
        if self._last_copy is None or self._last_copy[0] != asking.number:
            copy = optuna.create_study(directions=self._directions)
            copy.add_trials([self._with_both(trial) for trial in study.get_trials(deepcopy=False)])
            self._last_copy = (asking.number, copy)
        copy = self._last_copy[1]
        return copy, copy.get_trials(deepcopy=False)[asking.number]

    def _with_both(self, trial: FrozenTrial) -> FrozenTrial:
        state = trial.state
        values = self._values(trial) if state == TrialState.COMPLETE else None
        if values is not None and any(map(math.isnan, values)):
            state, values = TrialState.FAIL, None  # as Optuna does
        return optuna.trial.create_trial(
            state=state, values=values, params=trial.params, distributions=trial.distributions
        )
