"""Trials that fail: what the study keeps of it, and when a search is given up."""

from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from analysis.trials import read_trials
from tests.tuning.study.driver import Driver
from trainables.worker.trainable import FAILED
from tuning.ray_backend.reports import told_error


def test_a_failure_is_told_as_fail(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.9)
    driver.searcher.on_trial_complete(trial_id, error=True)
    assert [record.state for record in read_trials(driver.study)] == ["FAIL"]
    trial_id, _ = driver.start()
    driver.searcher.on_trial_complete(trial_id)  # ended without a report
    assert [record.state for record in read_trials(driver.study)] == ["FAIL", "FAIL"]


def fail(driver, trial_id, reason):
    """As a trial does that cannot be trained: it says so, and Tune ends it without an error."""
    trial = SimpleNamespace(trial_id=trial_id)
    assert driver.scheduler.on_trial_result(None, trial, {FAILED: reason}) == TrialScheduler.STOP
    driver.scheduler.on_trial_result(None, trial, {FAILED: reason, "done": True})
    driver.searcher.on_trial_complete(trial_id)


def test_a_trial_that_says_it_cannot_be_trained_has_failed(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.9)
    fail(driver, trial_id, "NonFiniteLossError: the loss became nan")
    (record,) = read_trials(driver.study)
    assert (record.state, record.failures) == ("FAIL", ("NonFiniteLossError: the loss became nan",))
    assert not record.is_candidate


def test_a_search_whose_first_trials_fail_alike_is_given_up(tmp_path):
    driver = Driver(tmp_path, num_samples=9)
    for _ in range(3):
        fail(driver, driver.start()[0], "DeviceError: no GPU")
    assert driver.start()[1] == Searcher.FINISHED
    assert driver.steering.given_up == "DeviceError: no GPU"
    assert driver.steering.is_complete()
    assert isinstance(Driver(tmp_path, num_samples=9).start()[1], dict)  # what was wrong may have been mended


def test_a_search_is_given_up_late_too_where_trial_after_trial_fails_alike(tmp_path):
    driver = Driver(tmp_path, num_samples=9)
    driver.run()
    for node in range(3):
        fail(driver, driver.start()[0], f"DataError: '/data/{node}' is not there, 0.{node} s")
    assert driver.steering.given_up == "DataError: '/data/2' is not there, 0.2 s"


DIVERGED = "NonFiniteLossError: the train loss became nan in epoch 1"


@pytest.mark.parametrize("reasons", [["a", "b", "a", "a"], ["a", None, "a", "a"], [None, DIVERGED, DIVERGED, DIVERGED]])
def test_other_searches_go_on(tmp_path, reasons):
    driver = Driver(tmp_path, num_samples=9)
    for reason in reasons:
        if reason is None:
            driver.run()
        else:
            fail(driver, driver.start()[0], reason)
    assert isinstance(driver.start()[1], dict)


RAISED = """Failure # 1 (occurred at 2026-01-01_00-00-00)
an older one
Failure # 2 (occurred at 2026-01-01_00-00-01)
ray::ImplicitFunc.train() (pid=1, ip=127.0.0.1)
  File "trial.py", line 1, in run_trial
    raise package.module.OddError("one\\ntwo")
package.module.OddError: one: a
two
"""
DIED = """Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
"""


TOLD = [
    (RAISED, "OddError: one: a"),
    (DIED, "The actor died unexpectedly before finishing this task."),
    ("", "the worker died"),
]


@pytest.mark.parametrize(("log", "line"), TOLD)
def test_an_error_is_told_in_its_first_line(log, line):
    assert told_error(log) == line
