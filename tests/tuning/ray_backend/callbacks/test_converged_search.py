"""The note that more trials are unlikely to help."""

import io

import pytest
from optuna.pruners import NopPruner
from rich.console import Console

from tests.tuning.study.driver import METRIC, Driver
from trainables.core.metric_names import LATENCY, Objective
from tuning.ray_backend.callbacks.converged_search import ConvergedSearch


def printed(folder, num_samples, stop=False, second=None):
    """Return what a search of 24 trials prints whose trial 3 is the best."""
    driver, output = Driver(folder, num_samples=num_samples), io.StringIO()
    driver.study.pruner, driver.steering.stop_when_converged = NopPruner(), stop
    driver.steering.objective = Objective(METRIC, second)
    note = ConvergedSearch(driver.steering, Console(file=output, width=300))
    for number in range(24):
        if driver.steering.new_trials_remain():
            driver.run(lambda trial: 0.9 if trial == 3 else 0.5)
            note.on_trial_complete(number, [], None)
    return output.getvalue()


def test_a_converged_search_with_trials_left_says_so_once(tmp_path):
    assert printed(tmp_path, num_samples=30) == (
        "More trials are unlikely to help: none of the last 16 trials that ran in full beats trial 3 "
        f"({METRIC} 0.9000); to end it here, press Ctrl-C and rerun with --resume --stop-when-converged\n"
    )


@pytest.mark.parametrize(("num_samples", "stop"), [(20, False), (30, True)])
def test_a_search_that_ends_anyway_says_nothing(tmp_path, num_samples, stop):
    assert printed(tmp_path, num_samples, stop) == ""


def test_a_search_with_two_metrics_says_nothing(tmp_path):
    """It has no --stop-when-converged."""
    assert printed(tmp_path, num_samples=30, second=LATENCY) == ""
