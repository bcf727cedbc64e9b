"""Failed trials: their state in the study, and when the search is given up."""

import time
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from analysis.trials import read_trials
from tests.tuning.study.driver import EPOCHS, Driver
from trainables.worker.report_keys import FAILED


def test_a_trial_with_an_error_or_without_a_report_has_failed(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.9)
    driver.searcher.on_trial_complete(trial_id, error=True)
    assert [record.state for record in read_trials(driver.study)] == ["FAIL"]
    trial_id, _ = driver.start()
    driver.searcher.on_trial_complete(trial_id)  # ended without a report
    assert [record.state for record in read_trials(driver.study)] == ["FAIL", "FAIL"]


def fail(driver, trial_id, reason):
    """Report that the trial cannot be trained, as a worker does, and end it without an error, as Tune does."""
    trial = SimpleNamespace(trial_id=trial_id)
    assert driver.scheduler.on_trial_result(None, trial, {FAILED: reason}) == TrialScheduler.STOP
    driver.scheduler.on_trial_result(None, trial, {FAILED: reason, "done": True})
    driver.searcher.on_trial_complete(trial_id)


def test_a_trial_that_reports_its_failure_has_failed(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.9)
    fail(driver, trial_id, "NonFiniteLossError: the loss became nan")
    (record,) = read_trials(driver.study)
    assert (record.state, record.failures) == ("FAIL", ("NonFiniteLossError: the loss became nan",))
    assert not record.is_candidate


def test_a_search_whose_trials_fail_alike_is_given_up_until_it_is_resumed(tmp_path):
    driver = Driver(tmp_path, num_samples=9)
    for _ in range(3):
        fail(driver, driver.start()[0], "DeviceError: no GPU")
    assert driver.start()[1] == Searcher.FINISHED
    assert driver.steering.given_up == "DeviceError: no GPU"
    assert driver.steering.is_complete()
    assert isinstance(Driver(tmp_path, num_samples=9).start()[1], dict)  # the cause may have been fixed


DIVERGED = "NonFiniteLossError: the train loss became nan in epoch 1"


def test_diverged_trials_end_no_search_in_which_another_trial_has_reported(tmp_path):
    driver = Driver(tmp_path, num_samples=9)
    running = [driver.start()[0] for _ in range(2)]
    driver.report(running[0], 1, 0.8)
    for _ in range(3):
        fail(driver, driver.start()[0], DIVERGED)
    assert driver.steering.given_up is None
    assert isinstance(driver.start()[1], dict)


def test_a_first_report_that_comes_after_three_diverged_trials_lets_the_search_continue(tmp_path):
    driver = Driver(tmp_path, num_samples=9)
    slow, _ = driver.start()
    for _ in range(3):
        fail(driver, driver.start()[0], DIVERGED)
    assert (driver.steering.given_up, driver.start()[1]) == (DIVERGED, None)
    driver.report(slow, 1, 0.8)
    assert isinstance(driver.start()[1], dict)


def test_diverged_trials_end_no_resumed_search_that_has_worked(tmp_path):
    Driver(tmp_path, num_samples=9).run()
    resumed = Driver(tmp_path, num_samples=9)
    for _ in range(3):
        fail(resumed, resumed.start()[0], DIVERGED)
    assert resumed.steering.given_up is None


def test_three_failures_of_the_machine_end_a_search_with_a_running_trial(tmp_path):
    driver = Driver(tmp_path, num_samples=9)
    running, _ = driver.start()
    for epoch in range(1, 4):
        driver.report(running, epoch, 0.8)
        fail(driver, driver.start()[0], "DeviceError: no GPU")
    assert driver.steering.given_up == "DeviceError: no GPU"


@pytest.mark.parametrize("max_failures", [0, 1])
def test_a_trial_whose_reused_process_has_died_is_handed_out_again(tmp_path, max_failures):
    """Tune announces a retry (the status is ERROR), and then fails the trial while it is PENDING."""
    driver = Driver(tmp_path)
    (tmp_path / "error.txt").write_text("Failure # 1 (occurred at noon)\nThe actor died.\n")
    numbers = []
    for _ in range(max_failures + 1):
        trial_id, config = driver.start()
        numbers.append(config["number"])
        for status in ("ERROR", "PENDING"):
            trial = SimpleNamespace(
                trial_id=trial_id, status=status, error_file=tmp_path / "error.txt", max_failures=max_failures
            )
            driver.scheduler.on_trial_error(None, trial)
        driver.searcher.on_trial_complete(trial_id, error=True)
    assert numbers == [0] * (max_failures + 1)
    (record,) = read_trials(driver.study)
    assert (record.state, set(record.failures)) == ("FAIL", {"The actor died."})
    assert driver.start()[1]["number"] == 1


def test_a_report_gives_a_trial_its_retries_back(tmp_path):
    """Tune's own, and those of a trial whose reused process has died."""
    driver = Driver(tmp_path)
    (tmp_path / "error.txt").write_text("Failure # 1 (occurred at noon)\nThe actor died.\n")
    for epoch in range(1, 4):
        trial_id, config = driver.start()
        assert config["number"] == 0
        driver.report(trial_id, epoch, 0.9)
        assert driver.trials[trial_id].run_metadata.num_failures == 0
        trial = SimpleNamespace(trial_id=trial_id, status="PENDING", error_file=tmp_path / "error.txt", max_failures=1)
        driver.scheduler.on_trial_error(None, trial)
        driver.searcher.on_trial_complete(trial_id, error=True)


def test_a_worker_that_dies_after_the_last_report_does_not_fail_its_trial(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    for epoch in range(1, EPOCHS + 1):
        driver.report(trial_id, epoch, 0.9)
    driver.searcher.on_trial_complete(trial_id, error=True)
    (record,) = read_trials(driver.study)
    assert (record.state, driver.study.trials[0].value) == ("COMPLETE", 0.9)


def test_a_worker_that_dies_after_the_time_budget_stopped_its_trial_does_not_fail_it(tmp_path):
    driver = Driver(tmp_path)
    trial_id, _ = driver.start()
    driver.steering.deadline = time.monotonic() - 1
    driver.report(trial_id, 1, 0.9)
    driver.searcher.on_trial_complete(trial_id, error=True)
    (record,) = read_trials(driver.study)
    assert (record.state, record.is_candidate) == ("PRUNED", True)
