"""A TPE sampler that fits its densities to the latest trials only, so that its cost stops growing."""

from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial


class RecentTPESampler(TPESampler):
    """TPE on the latest trials.

    Optuna has no option for this, and its public hook ``after_trial`` cannot remove trials. TPE reads trials through
    ``study.get_trials`` and the private ``study._get_trials``, so it is given a study that returns fewer of them.

    Args:
        history: Number of trials that TPE sees.
        **options: Options of ``TPESampler``.
    """

    def __init__(self, history: int, **options: Any):
        super().__init__(**options)
        self._history = history

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Infer the search space from the latest trials."""
        return super().infer_relative_search_space(_RecentTrials(study, self._history), trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        """Sample parameters from the latest trials."""
        return super().sample_relative(_RecentTrials(study, self._history), trial, search_space)


class _RecentTrials:
    """A study that shows its latest trials only."""

    def __init__(self, study: optuna.Study, history: int):
        self._study, self._history = study, history

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        return self._study.get_trials(*args, **options)[-self._history :]

    def _get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        return self._study._get_trials(*args, **options)[-self._history :]
