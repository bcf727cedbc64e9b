from types import SimpleNamespace

from tests.tuning.study.driver import Driver
from tuning.ray_backend.callbacks.dropped_trials import DroppedTrials, live_trials


def ray_trial(trial_id, status):
    return SimpleNamespace(trial_id=trial_id, status=status)


def test_a_trial_that_tune_dropped_is_handed_out_again(tmp_path):
    driver = Driver(tmp_path)
    (running, first), (dropped, second) = driver.start(), driver.start()
    DroppedTrials(driver.steering).on_step_end(0, [ray_trial(running, "RUNNING"), ray_trial(dropped, "ERROR")])
    assert list(driver.steering.live) == [running]
    _, again = driver.start()
    assert (first["number"], again["number"], again["train"]) == (0, second["number"], second["train"])


def test_a_trial_that_has_ended_for_the_study_is_not_live(tmp_path):
    driver = Driver(tmp_path)
    failed, _ = driver.start()
    driver.searcher.on_trial_complete(failed, error=True)
    running, _ = driver.start()
    trials = [ray_trial(failed, "ERROR"), ray_trial(running, "RUNNING")]
    assert [trial.trial_id for trial in live_trials(driver.steering, trials)] == [running]
    DroppedTrials(driver.steering).on_step_end(0, trials)
    assert driver.steering.unfinished == []
