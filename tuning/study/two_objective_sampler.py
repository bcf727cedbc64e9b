"""Searching for two objectives at once where trials are stopped by the first of them."""

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
    """Lets a sampler for two objectives steer a study of one.

    Optuna prunes no trial of a study that has two objectives. So the study has the first, by which trials that fall
    behind are stopped and told as PRUNED; and the sampler is shown a copy of it in which every trial that ran in full
    has both.

    Args:
        sampler: Such as ``TPESampler``, which handles two objectives as Ozaki et al. 2020.
        metrics: The two objectives, bare names.
        values: A completed trial's values of both.
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
        self._shown: tuple[int, optuna.Study] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does on the copy."""
        return self._sampler.infer_relative_search_space(self._copy(study, trial), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does on the copy."""
        return self._sampler.sample_relative(self._copy(study, trial), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does on the copy."""
        return self._sampler.sample_independent(self._copy(study, trial), trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Passed on."""
        self._sampler.reseed_rng()

    def _copy(self, study: optuna.Study, asking: FrozenTrial) -> optuna.Study:
        """The study with both values a trial, in memory; made once a trial that asks."""
        if self._shown is None or self._shown[0] != asking.number:
            copy = optuna.create_study(directions=self._directions)
            copy.add_trials([self._with_both(trial) for trial in study.get_trials(deepcopy=False)])
            self._shown = (asking.number, copy)
        return self._shown[1]

    def _with_both(self, trial: FrozenTrial) -> FrozenTrial:
        return optuna.trial.create_trial(
            state=trial.state,
            values=self._values(trial) if trial.state == TrialState.COMPLETE else None,
            params=trial.params,
            distributions=trial.distributions,
        )
