"""The lines that a search prints in a pipe, and the view on a terminal."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.tuning.study.driver import EPOCHS, METRIC, Driver
from trainables.worker.report_keys import FAILED
from tuning.ray_backend.callbacks.progress import Progress
from tuning.study.record_trial import save_failure


@pytest.fixture
def output():
    return io.StringIO()


def reported(driver, progress, epoch, value):
    trial_id, config = driver.start()
    driver.report(trial_id, epoch, value)
    storage = SimpleNamespace(trial_fs_path="/checkpoints/session-001/trial-0000")
    trial = SimpleNamespace(config=config, status="RUNNING", storage=storage)
    result = {"epoch": epoch, f"tune/{METRIC}": value, f"best_{METRIC}": value, "epoch_seconds": 1.26}
    progress.on_trial_result(0, [trial], trial, result)
    return trial_id, trial


def test_one_line_per_epoch_in_a_pipe(tmp_path, output):
    driver = Driver(tmp_path)
    progress = Progress(driver.steering, Console(file=output))
    reported(driver, progress, 1, 0.5)
    assert output.getvalue() == f"trial 0  epoch 1/{EPOCHS}: {METRIC} 0.5000, best 0.5000, 1.3 s\n"


def test_one_line_per_fold_in_a_pipe(tmp_path, output):
    driver = Driver(tmp_path)
    driver.steering.unit = "fold"
    reported(driver, Progress(driver.steering, Console(file=output)), 1, 0.5)
    assert output.getvalue() == f"trial 0  fold 1/{EPOCHS}: {METRIC} 0.5000, 1.3 s per epoch\n"


def test_a_failure_is_one_line_with_its_reason(tmp_path, output):
    driver = Driver(tmp_path)
    progress = Progress(driver.steering, Console(file=output))
    trial_id, trial = reported(driver, progress, 1, 0.5)
    save_failure(driver.steering.live[trial_id], "ValueError: [x] broke")
    progress.on_trial_result(0, [trial], trial, {FAILED: "ValueError: [x] broke"})
    driver.searcher.on_trial_complete(trial_id, error=True)
    progress.on_trial_error(0, [trial], trial)
    assert output.getvalue().splitlines()[1:] == [
        "trial 0 failed: ValueError: [x] broke",
        "trial 0 failed: ValueError: [x] broke (traceback in /checkpoints/session-001/trial-0000/error.txt)",
    ]


def test_a_trial_that_is_handed_out_again_has_not_failed(tmp_path, output):
    driver = Driver(tmp_path)
    progress = Progress(driver.steering, Console(file=output))
    trial_id, trial = reported(driver, progress, 1, 0.5)
    before = output.getvalue()
    driver.steering.unfinished.append(driver.steering.live.pop(trial_id))
    progress.on_trial_error(0, [trial], trial)
    assert output.getvalue() == before


def test_the_view_counts_trials_and_shows_the_best_value(tmp_path, output):
    driver = Driver(tmp_path)
    driver.run(lambda number: 0.75)
    console = Console(file=output, width=200, force_terminal=True)
    progress = Progress(driver.steering, console, lambda: "1.50 GPU hours")
    reported(driver, progress, 1, 0.5)
    console.print(progress._view())
    assert "1 done, 1 running, 0 stopped, 0 failed of 6 trials; best balanced_accuracy 0.7500; ETA" in output.getvalue()
    assert "1.50 GPU hours" in output.getvalue()
