"""A database of which this process becomes the only writer, so that nothing is read from it twice."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class SoleWriter(_CachedStorage):
    """Writes through to the database and, once it is ``taken``, answers from memory.

    Optuna keeps trials that have ended, and reads those that run anew for each question and report: 3 ms for each of
    them. One driver has a search at a time, by its lease; until it holds that, another may still write.
    Readers get trials that are replaced, never changed, so that those of other threads are whole.
    """

    def __init__(self, backend: RDBStorage):
        super().__init__(backend)
        self._is_sole = False
        self._known: set[int] = set()

    def take(self) -> None:
        """Says that from here on nobody else writes: what was read before is read once more, and then no more."""
        self._is_sole = True
        self._known.clear()

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        """Reads a study, once where nobody else writes it."""
        if study_id not in self._known:
            super()._read_trials_from_remote_storage(study_id)
            if self._is_sole:
                self._known.add(study_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial as it was read or written last."""
        with self._lock:
            study_id, number = self._trial_id_to_study_id_and_number.get(trial_id, (-1, -1))
            if study_id in self._known:
                return self._studies[study_id].trials[number]
        return super().get_trial(trial_id)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Writes a parameter."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

        def change(trial: FrozenTrial) -> None:
            trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
            trial.distributions = {**trial.distributions, param_name: distribution}

        self._replace(trial_id, change)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Writes how a trial stands, and reads when it did so by the database's clock."""
        changed = super().set_trial_state_values(trial_id, state, values)
        self._replace(trial_id, lambda trial: vars(trial).update(vars(self._backend.get_trial(trial_id))))
        return changed

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Writes a report."""
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

        def change(trial: FrozenTrial) -> None:
            trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

        self._replace(trial_id, change)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes a note of ours."""
        super().set_trial_user_attr(trial_id, key, value)

        def change(trial: FrozenTrial) -> None:
            trial.user_attrs = {**trial.user_attrs, key: _as_stored(value)}

        self._replace(trial_id, change)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes a note of Optuna's."""
        super().set_trial_system_attr(trial_id, key, value)

        def change(trial: FrozenTrial) -> None:
            trial.system_attrs = {**trial.system_attrs, key: _as_stored(value)}

        self._replace(trial_id, change)

    def _replace(self, trial_id: int, change: Callable[[FrozenTrial], None]) -> None:
        with self._lock:
            study_id, number = self._trial_id_to_study_id_and_number.get(trial_id, (-1, -1))
            if study_id not in self._known:  # it will be read
                return
            trials = self._studies[study_id].trials
            changed = copy.copy(trials[number])
            change(changed)
            trials[number] = changed


def take(study: Study) -> None:
    """Says of a study's storage, where it is a database, that from here on this process alone writes it."""
    if isinstance(study._storage, SoleWriter):
        study._storage.take()


def _as_stored(value: Any) -> Any:
    """As the database would give it back."""
    return json.loads(json.dumps(value))
