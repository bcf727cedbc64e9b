"""The time budget of a new and of a resumed search."""

import io
import time

import pytest
from rich.console import Console

from search_spaces.space import load_space
from tests.tuning.study.driver import Driver
from tuning.search.options import SearchOptions
from tuning.search.prepare import _note_used_budget, _save_options
from tuning.study.attributes import read_options, read_training_time, save_options, save_training_time


@pytest.mark.parametrize(("continued", "used"), [(False, 0), (True, 6900)], ids=["given again", "continued"])
def test_a_new_time_budget_begins_when_it_is_saved(tmp_path, continued, used):
    study = Driver(tmp_path).study
    save_training_time(study, 6900)
    options = SearchOptions(load_space("demo_space"), time_budget_s=7200, continue_budget=continued)
    _save_options(options, study, "sqlite:///mlflow.db")
    assert read_options(study)["tracking_uri"] == "sqlite:///mlflow.db"
    assert read_training_time(study) == used


def test_a_driver_killed_as_it_saves_a_new_time_budget_leaves_time_to_train(tmp_path, monkeypatch):
    study = Driver(tmp_path).study
    save_options(study, {"time_budget": 9000})
    save_training_time(study, 8900)
    left, killed = [], iter(range(2))

    def set_attribute(name, value, write=study.set_user_attr):
        left.append(read_options(study)["time_budget"] - read_training_time(study))
        if next(killed) == 1:
            raise KeyboardInterrupt
        write(name, value)

    monkeypatch.setattr(study, "set_user_attr", set_attribute)
    given = {"time_budget": 7200}
    with pytest.raises(KeyboardInterrupt):
        _save_options(SearchOptions(load_space("demo_space"), given=given), study, "sqlite:///mlflow.db")
    assert left == [100, 9000]


@pytest.mark.parametrize(
    ("ended", "deadline", "noted"),
    [(1, -1, True), (2, -1, False), (1, 60, False)],
    ids=["used up", "no trial left", "rest"],
)
def test_a_used_time_budget_is_noted_if_trials_are_left(tmp_path, ended, deadline, noted):
    driver = Driver(tmp_path, num_samples=2)
    for _ in range(ended):
        driver.run()
    driver.steering.deadline = time.monotonic() + deadline
    console = Console(file=io.StringIO(), width=200)
    _note_used_budget(driver.steering, console)
    note = "Note: the search has used its time budget, so no trial starts: give a new --time-budget.\n"
    assert console.file.getvalue() == note * noted
