"""A database that is answered for from memory: the answers are those of the database."""

import optuna
import pytest
from optuna.storages import RDBStorage

from tests.tuning.study.driver import Driver
from tuning.study.open_study import study_storage
from tuning.study.single_writer_storage import take


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def driver(tmp_path, url):
    """Has trials of every state, notes of every kind, and one that was begun by another."""
    first = Driver(tmp_path, url=url)
    first.start()
    driver = Driver(tmp_path, num_samples=8, url=url)
    take(driver.study)
    driver.study.enqueue_trial({"lr": 0.25}, user_attrs={"recipe": "known good"})
    for value in (0.9, 0.8, 0.1, 0.05):
        driver.run(lambda number, value=value: value)
    failing, _ = driver.start()
    driver.steering.note_failure(driver.steering.live[failing], "NaN")
    driver.searcher.on_trial_complete(failing, error=True)
    going, _ = driver.start()
    driver.report(going, 1, 0.7)
    driver.steering.live[going].set_user_attr("told", {"as": ("a", 1), 2: None})
    driver.study.enqueue_trial({"lr": 0.5})
    return driver


def test_what_is_remembered_is_what_the_database_has(driver, url):
    (found,) = optuna.get_all_study_summaries(RDBStorage(url))
    stored = optuna.load_study(study_name=found.study_name, storage=RDBStorage(url)).trials
    assert {trial.state.name for trial in stored} == {"COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"}
    assert driver.study.trials == stored
    storage = driver.study._storage
    assert [storage.get_trial(trial._trial_id) for trial in stored] == stored


def test_nothing_is_read_twice(driver, monkeypatch):
    def read(*arguments, **options):
        raise AssertionError("the database was asked for all trials")

    monkeypatch.setattr(RDBStorage, "_get_trials", read)
    driver.run()
    assert driver.study.best_value == 0.9


def test_readers_keep_what_they_were_given(driver):
    (before,) = [trial for trial in driver.study.get_trials(deepcopy=False) if trial.intermediate_values.keys() == {1}]
    reports = dict(before.intermediate_values)
    (going,) = [name for name, trial in driver.steering.live.items() if trial.number == before.number]
    driver.report(going, 2, 0.75)
    assert before.intermediate_values == reports
    assert driver.steering.read(before.number).epochs[-1].epoch == 2


def test_a_write_that_fails_is_not_remembered(driver, monkeypatch):
    (trial,) = driver.steering.live.values()
    before = driver.study.trials

    def refuse(*arguments, **options):
        raise OSError("the database is gone")

    monkeypatch.setattr(RDBStorage, "set_trial_user_attr", refuse)
    with pytest.raises(OSError, match="gone"):
        trial.set_user_attr("too", "much")
    assert driver.study.trials == before


def test_what_another_wrote_until_the_study_was_taken_is_known(tmp_path, url):
    """A driver watches the lease of another for seconds after it has opened the study."""
    leaving = Driver(tmp_path, url=url)
    leaving_trial, _ = leaving.start()
    coming = Driver(tmp_path, url=url)
    assert [trial.state.name for trial in coming.study.trials] == ["RUNNING"]
    leaving.report(leaving_trial, 1, 0.7)
    leaving.searcher.on_trial_complete(leaving_trial)
    leaving.run()
    take(coming.study)
    assert coming.study.trials == leaving.study.trials
    assert [trial.state.name for trial in coming.study.trials] == ["COMPLETE", "COMPLETE"]


def test_another_process_reads_what_was_written(driver, tmp_path, url):
    again = optuna.load_study(study_name="search", storage=study_storage(tmp_path, url))
    assert again.trials == driver.study.trials
