"""A database storage that answers from memory: its answers must be those of the database."""

import optuna
import pytest
from optuna.storages import RDBStorage

from tests.tuning.study.driver import Driver
from tuning.study.record_trial import read_record_by_number, save_failure
from tuning.study.storage.open_study import study_storage
from tuning.study.storage.optuna_internals import storage_of
from tuning.study.storage.single_writer_storage import become_single_writer


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def driver(tmp_path, url):
    """A driver with trials of every state, attributes of every kind, and one trial that another driver started."""
    first = Driver(tmp_path, url=url)
    first.start()
    driver = Driver(tmp_path, num_samples=8, url=url)
    become_single_writer(driver.study)
    driver.study.enqueue_trial({"lr": 0.25}, user_attrs={"recipe": "known good"})
    for value in (0.9, 0.8, 0.1, 0.05):
        driver.run(lambda number, value=value: value)
    driver.steering.stop_paused()
    failing, _ = driver.start()
    save_failure(driver.steering.live[failing], "NaN")
    driver.searcher.on_trial_complete(failing, error=True)
    running, _ = driver.start()
    driver.report(running, 1, 0.7)
    driver.steering.live[running].set_user_attr("nested", {"as": ("a", 1), 2: None})
    driver.study.enqueue_trial({"lr": 0.5})
    return driver


def test_memory_equals_the_database(driver, url):
    (summary,) = optuna.get_all_study_summaries(RDBStorage(url))
    stored = optuna.load_study(study_name=summary.study_name, storage=RDBStorage(url)).trials
    assert {trial.state.name for trial in stored} == {"COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"}
    assert driver.study.trials == stored
    storage = storage_of(driver.study)
    assert [storage.get_trial(trial._trial_id) for trial in stored] == stored


def test_nothing_is_read_twice(driver, monkeypatch):
    def read(*arguments, **options):
        raise AssertionError("the database was asked for all trials")

    monkeypatch.setattr(RDBStorage, "_get_trials", read)
    driver.run()
    assert driver.study.best_value == 0.9


def test_objects_given_to_readers_never_change(driver):
    (before,) = [trial for trial in driver.study.get_trials(deepcopy=False) if trial.intermediate_values.keys() == {1}]
    reports = dict(before.intermediate_values)
    (running,) = [name for name, trial in driver.steering.live.items() if trial.number == before.number]
    driver.report(running, 2, 0.75)
    assert before.intermediate_values == reports
    assert read_record_by_number(driver.study, before.number).epochs[-1].epoch == 2


def test_a_failed_write_does_not_change_memory(driver, monkeypatch):
    (trial,) = driver.steering.live.values()
    before = driver.study.trials

    def refuse(*arguments, **options):
        raise OSError("the database is gone")

    monkeypatch.setattr(RDBStorage, "set_trial_user_attr", refuse)
    with pytest.raises(OSError, match="gone"):
        trial.set_user_attr("too", "much")
    assert driver.study.trials == before


def test_writes_of_another_driver_before_the_lease_are_seen(tmp_path, url):
    """A driver opens the study and then watches the lease of another driver for seconds."""
    old = Driver(tmp_path, url=url)
    old_trial, _ = old.start()
    new = Driver(tmp_path, url=url)
    assert [trial.state.name for trial in new.study.trials] == ["RUNNING"]
    old.report(old_trial, 1, 0.7)
    old.searcher.on_trial_complete(old_trial)
    old.run()
    become_single_writer(new.study)
    assert new.study.trials == old.study.trials
    assert [trial.state.name for trial in new.study.trials] == ["COMPLETE", "COMPLETE"]


def test_another_process_reads_the_same_trials(driver, tmp_path, url):
    again = optuna.load_study(study_name="search", storage=study_storage(tmp_path, url))
    assert again.trials == driver.study.trials
