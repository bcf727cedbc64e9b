"""Every use of Optuna's private attributes. tests/tuning/study/test_optuna_internals.py checks that they still exist.

Each docstring says why the public way falls short. Optuna hides a study's storage (``_storage``, ``_study_id``) and
a trial's ID in that storage (``_trial_id``); without them a single trial can be neither read nor reopened.
"""

import copy
from collections.abc import Callable
from contextlib import suppress

import optuna
from optuna.storages import BaseStorage, RDBStorage, _CachedStorage
from optuna.storages._rdb.models import StudyUserAttributeModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

_DRAWS = "tpe:relative_params:0"  # the first part; TPE reads the parts up to one that is empty or missing


def storage_of(study: optuna.Study) -> BaseStorage:
    """Return the storage of a study.

    Public way: keep the object given to ``create_study``. Callers that receive only a study do not have it.
    """
    return study._storage


def frozen_trial(trial: optuna.Trial) -> FrozenTrial:
    """Return a running trial as stored.

    Public way: ``study.get_trials(deepcopy=False)[trial.number]`` lists all trials, which takes 0.7 ms instead of
    0.01 ms with 5,000 trials. Each report reads its trial twice.
    """
    return trial.storage.get_trial(trial._trial_id)


def frozen_trial_by_number(study: optuna.Study, number: int) -> FrozenTrial:
    """Return the trial with a number as stored. Public way: as for ``frozen_trial``."""
    storage = study._storage
    return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study._study_id, number))


def reopen_trial(study: optuna.Study, frozen: FrozenTrial) -> optuna.Trial:
    """Return a handle that can continue a trial of an earlier driver.

    Public way: none. ``study.ask`` always starts a new trial, and ``enqueue_trial`` copies parameters to a new number.
    """
    trial = optuna.Trial(study, frozen._trial_id)  # draws again
    void_draws(trial)
    return trial


def mark_trial(study: optuna.Study, trial: FrozenTrial, name: str, value: str) -> None:
    """Set a user attribute of a trial that a sampler is asked about.

    Public way: none. A sampler gets the stored trial, whose ``set_user_attr`` does not reach the storage.
    """
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def void_draws(trial: optuna.Trial) -> None:
    """Make a running trial count for TPE with its own parameters only.

    For other processes, TPE saves what it draws for a trial, also for branches of the space that the trial then does
    not take. Its constant liar would count these values as well, as long as the trial runs or is paused.

    Public way: none. Only the constant liar needs the draws, and it has no option to ignore them.
    """
    if frozen_trial(trial).system_attrs.get(_DRAWS):
        trial.storage.set_trial_system_attr(trial._trial_id, _DRAWS, "")


def queue_again(study: optuna.Study, trial: optuna.Trial) -> None:
    """Return a running trial to the queue, from which ``study.ask`` takes it with the same number and parameters.

    Public way: none. ``study.tell`` accepts final states only, and ``enqueue_trial`` copies parameters to a new number.
    """
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


class StoredAttribute:
    """An attribute of a study in a database, as the JSON text that is stored.

    Public way: ``set_user_attr`` overwrites what another driver has written in the meantime.

    Attributes:
        engine: Engine of the study's own storage.
    """

    def __init__(self, study: optuna.Study, key: str):
        storage = study._storage
        assert isinstance(storage, _CachedStorage)
        self.engine: Engine = storage._backend.engine
        self._study_id, self._key = study._study_id, key
        model = StudyUserAttributeModel
        self._condition = (model.study_id == self._study_id) & (model.key == key)

    def create(self, text: str) -> None:
        """Add the attribute, unless the study has it."""
        row = {"study_id": self._study_id, "key": self._key, "value_json": text}
        with suppress(IntegrityError), self.engine.begin() as connection:
            connection.execute(insert(StudyUserAttributeModel).values(row))

    def read(self, connection: Connection) -> str | None:
        """Return the text, which nobody can change in this transaction (SQLite: once it has written)."""
        query = select(StudyUserAttributeModel.value_json).where(self._condition).with_for_update(read=True)
        text: str | None = connection.execute(query).scalar()
        return text

    def replace(self, before: str, after: str) -> bool:
        """Change the text from ``before`` to ``after``, and return False if it was another one."""
        model = StudyUserAttributeModel
        change = update(model).where(self._condition & (model.value_json == before)).values(value_json=after)
        with self.engine.begin() as connection:
            return connection.execute(change).rowcount == 1


class TrialCache(_CachedStorage):
    """Optuna's cached database storage that can answer from its cache.

    Public way: a ``BaseStorage`` around ``RDBStorage`` needs 20 more methods, six more queries per trial (to read what
    ``create_new_trial`` wrote) and one more per suggested parameter (to compare its distribution).

    Attributes:
        complete_studies: IDs of studies whose trials are all in the cache; the database is not read for these.
    """

    def __init__(self, backend: RDBStorage):
        super().__init__(backend)
        self.complete_studies: set[int] = set()

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        if study_id not in self.complete_studies:
            self.read_trials(study_id)

    def read_trials(self, study_id: int) -> None:
        """Update the cache with the trials of a study that are new or unfinished."""
        super()._read_trials_from_remote_storage(study_id)

    def read_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial from the database."""
        return self._backend.get_trial(trial_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial, from the cache if its study is complete."""
        with self._lock:
            study_id, number = self._trial_id_to_study_id_and_number.get(trial_id, (-1, -1))
            if study_id in self.complete_studies:
                return self._studies[study_id].trials[number]
        return super().get_trial(trial_id)

    def update_cached_trial(self, trial_id: int, change: Callable[[FrozenTrial], None]) -> None:
        """Replace a cached trial by a changed copy if its study is complete.

        The old object stays as it is, so that other threads never see a partial change.
        """
        with self._lock:
            study_id, number = self._trial_id_to_study_id_and_number.get(trial_id, (-1, -1))
            if study_id not in self.complete_studies:
                return
            trials = self._studies[study_id].trials
            changed = copy.copy(trials[number])
            change(changed)
            trials[number] = changed
