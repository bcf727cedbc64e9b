"""A database storage that answers from memory while this process is its only writer."""

import json
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tuning.study.storage.fence import Fenced
from tuning.study.storage.optuna_internals import TrialCache, storage_of


class SingleWriterStorage(TrialCache, Fenced):
    """A write-through cache of a database.

    Optuna caches finished trials only and reads each running one again for every question and report, at 3 ms apiece.
    That is unnecessary once this process is the only writer. Until it holds the lease, another driver may still write.
    """

    def __init__(self, backend: RDBStorage):
        super().__init__(backend)
        self._single_writer = False

    def become_single_writer(self) -> None:
        """Answer from memory from now on, after reading each study once more."""
        self._single_writer = True
        self.complete_studies.clear()

    def read_trials(self, study_id: int) -> None:
        """Update the cache from the database; for a single writer this happens once per study."""
        super().read_trials(study_id)
        if self._single_writer:
            self.complete_studies.add(study_id)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Write a parameter."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

        def change(trial: FrozenTrial) -> None:
            trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
            trial.distributions = {**trial.distributions, param_name: distribution}

        self.update_cached_trial(trial_id, change)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Write a trial's state and values, and read back the time that the database's clock gave."""
        changed = super().set_trial_state_values(trial_id, state, values)
        self.update_cached_trial(trial_id, lambda trial: vars(trial).update(vars(self.read_trial(trial_id))))
        return changed

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Write a reported value."""
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

        def change(trial: FrozenTrial) -> None:
            trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

        self.update_cached_trial(trial_id, change)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write an attribute of ours."""
        super().set_trial_user_attr(trial_id, key, value)

        def change(trial: FrozenTrial) -> None:
            trial.user_attrs = {**trial.user_attrs, key: _as_stored(value)}

        self.update_cached_trial(trial_id, change)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write an attribute of Optuna's."""
        super().set_trial_system_attr(trial_id, key, value)

        def change(trial: FrozenTrial) -> None:
            trial.system_attrs = {**trial.system_attrs, key: _as_stored(value)}

        self.update_cached_trial(trial_id, change)


def become_single_writer(study: Study) -> None:
    """Make this process the single writer of a study's database; do nothing for other storages."""
    storage = storage_of(study)
    if isinstance(storage, SingleWriterStorage):
        storage.become_single_writer()


def _as_stored(value: Any) -> Any:
    """Return a value as the database would return it."""
    return json.loads(json.dumps(value))
