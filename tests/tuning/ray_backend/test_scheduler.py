"""Trials that wait for resources when the time budget ends."""

import io
import time
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler
from rich.console import Console

from tests.tuning.study.driver import Driver
from tuning.ray_backend.callbacks.stalled_search import StalledSearch
from tuning.ray_backend.resources import Resources


class Controller:
    """Tune's controller, as far as a scheduler uses it."""

    def __init__(self, driver):
        self._driver, self._trials = driver, []

    def add(self, status):
        trial_id, config = self._driver.start()
        self._trials.append(SimpleNamespace(trial_id=trial_id, status=status, config=config))
        return trial_id

    def get_trials(self):
        return self._trials

    def stop_trial(self, trial):
        self._driver.searcher.on_trial_complete(trial.trial_id)
        trial.status = "TERMINATED"

    def choose(self):
        return self._driver.scheduler.choose_trial_to_run(self)


def states(driver):
    return [trial.state.name for trial in driver.study.trials]


def test_a_waiting_trial_does_not_start_after_the_deadline_while_another_one_runs(tmp_path):
    driver = Driver(tmp_path)
    controller = Controller(driver)
    running, _ = controller.add("RUNNING"), controller.add("PENDING")
    driver.steering.deadline = time.monotonic() - 1
    assert controller.choose() is None
    assert list(driver.steering.live) == [running]
    assert states(driver) == ["RUNNING", "WAITING"]
    driver.report(running, 1, 0.5)
    driver.searcher.on_trial_complete(running)
    assert driver.steering.is_complete()


def test_a_resumed_search_with_more_time_tries_what_never_ran(tmp_path):
    first = Driver(tmp_path, num_samples=2)
    for lr in (0.25, 0.75):
        first.study.enqueue_trial({"lr": lr}, skip_if_exists=True)
    controller = Controller(first)
    for _ in range(2):
        controller.add("PENDING")
    first.steering.deadline = time.monotonic() - 1
    controller.choose()
    assert StalledSearch(first.steering, Resources(1, 0), Console(file=io.StringIO())).stop_all()
    assert (states(first), first.steering.handed_out()) == (["WAITING"] * 2, 0)

    second = Driver(tmp_path, num_samples=2)
    for lr in (0.25, 0.75):
        second.study.enqueue_trial({"lr": lr}, skip_if_exists=True)
    tried = [second.run() for _ in range(2)]
    assert [(one["number"], one["train"]) for one in tried] == [(0, {"lr": 0.25}), (1, {"lr": 0.75})]
    assert second.steering.is_complete()


def test_a_trial_that_pauses_after_the_deadline_is_finished_once(tmp_path):
    """Tune saves its checkpoint before it ends the trial, and chooses the next one in between."""
    driver = Driver(tmp_path)
    driver.run(lambda number: 0.9)
    controller = Controller(driver)
    running, pausing = controller.add("RUNNING"), controller.add("RUNNING")
    driver.report(pausing, 1, 0.1)
    driver.steering.deadline = time.monotonic() - 1
    assert driver.report(pausing, 2, 0.1) == TrialScheduler.STOP
    assert controller.choose() is None
    driver.searcher.on_trial_complete(pausing)
    controller.choose()
    driver.report(running, 1, 0.5)
    driver.searcher.on_trial_complete(running)
    assert driver.steering.is_complete()
    assert states(driver) == ["COMPLETE", "PRUNED", "PRUNED"]


def test_paused_trials_end_too_if_the_deadline_passes_while_a_trial_waits(tmp_path):
    driver = Driver(tmp_path)
    for _ in range(3):
        driver.run(lambda number: 1.0 - number / 10)
    controller = Controller(driver)
    controller.add("PENDING")
    driver.steering.deadline = time.monotonic() - 1
    controller.choose()
    assert driver.steering.is_complete()
    assert states(driver) == ["COMPLETE", "PRUNED", "PRUNED", "WAITING"]
