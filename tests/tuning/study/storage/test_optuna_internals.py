"""The private API of Optuna that ``optuna_internals`` uses: one clear failure when a new version changes it."""

import inspect
from importlib.metadata import version

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, _CachedStorage

from tuning.study.storage.optuna_internals import (
    frozen_trial,
    frozen_trial_by_number,
    queue_again,
    reopen_trial,
    storage_of,
    void_draws,
)

VERSION = f"Optuna {version('optuna')}"


@pytest.fixture
def study(tmp_path):
    return optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")


def test_a_study_has_a_storage_and_an_id(study):
    for name in ("_storage", "_study_id"):
        assert hasattr(study, name), f"{VERSION}: optuna.Study has no attribute {name!r}; see optuna_internals.py"


def test_a_trial_has_an_id_and_can_be_constructed_from_it(study):
    trial = study.ask()
    for kind, owner in (("Trial", trial), ("trial.FrozenTrial", study.trials[0])):
        assert hasattr(owner, "_trial_id"), f"{VERSION}: optuna.{kind} has no attribute '_trial_id'"
    parameters = list(inspect.signature(optuna.Trial).parameters)
    assert parameters == ["study", "trial_id"], f"{VERSION}: the signature of optuna.Trial is now {parameters}"


def test_the_cached_storage_has_the_attributes_that_trial_cache_uses(study):
    storage = study._storage
    assert isinstance(storage, _CachedStorage), f"{VERSION}: a database's storage is now a {type(storage).__name__}"
    trial = study.ask()
    storage.get_all_trials(study._study_id)
    expected = {
        "_lock": lambda value: hasattr(value, "__enter__"),
        "_backend": lambda value: isinstance(value, RDBStorage),
        "_trial_id_to_study_id_and_number": lambda value: value[trial._trial_id] == (study._study_id, trial.number),
        "_studies": lambda value: value[study._study_id].trials[trial.number]._trial_id == trial._trial_id,
        "_read_trials_from_remote_storage": lambda value: list(inspect.signature(value).parameters) == ["study_id"],
    }
    for name, holds in expected.items():
        assert hasattr(storage, name), f"{VERSION}: _CachedStorage has no attribute {name!r}; see TrialCache"
        assert holds(getattr(storage, name)), f"{VERSION}: _CachedStorage.{name} has changed; see TrialCache"


def test_listing_trials_reads_the_database_through_the_method_that_trial_cache_overrides(study, monkeypatch):
    calls = []
    study.ask()
    monkeypatch.setattr(_CachedStorage, "_read_trials_from_remote_storage", lambda *arguments: calls.append(arguments))
    study.get_trials()
    assert calls, f"{VERSION}: get_all_trials no longer calls _read_trials_from_remote_storage; see TrialCache"


def test_a_trial_is_read_and_reopened_as_stored(study):
    trial = study.ask()
    value = trial.suggest_float("lr", 0, 1)
    trial.set_user_attr("seen", True)
    assert frozen_trial(trial).user_attrs == {"seen": True}
    assert frozen_trial_by_number(study, trial.number).params == {"lr": value}
    again = reopen_trial(optuna.load_study(study_name=study.study_name, storage=storage_of(study)), study.trials[0])
    assert (again.number, again.suggest_float("lr", 0, 1)) == (trial.number, value)


def test_a_trial_that_is_queued_again_is_asked_for_with_its_number_and_parameters(study):
    trial = study.ask()
    value = trial.suggest_float("lr", 0, 1)
    queue_again(study, trial)
    again = study.ask()
    asked = again.number, again.suggest_float("lr", 0, 1)
    assert asked == (trial.number, value), f"{VERSION}: a running trial no longer returns to the queue"
    study.tell(again, 0.5)


@pytest.mark.parametrize("void", [void_draws, lambda trial: reopen_trial(trial.study, frozen_trial(trial))])
def test_tpe_counts_a_running_trial_without_the_branch_that_it_did_not_take(void):
    sampler = TPESampler(multivariate=True, group=True, constant_liar=True, n_startup_trials=4, seed=0)
    study = optuna.create_study(sampler=sampler)

    def suggest(trial, branch):
        trial.suggest_categorical("branch", ["a", "b"])
        trial.suggest_float(f"of {branch}", 0, 1)

    for number in range(8):
        trial = study.ask()
        suggest(trial, "ab"[number % 2])
        study.tell(trial, number)
    trial = study.ask()
    suggest(trial, "a")
    counted = sampler._get_params(frozen_trial(trial), study)
    assert counted.keys() == {"branch", "of a", "of b"}, f"{VERSION}: TPE shares its draws in another way"
    void(trial)
    assert sampler._get_params(frozen_trial(trial), study) == trial.params, f"{VERSION}: void_draws has no effect"
