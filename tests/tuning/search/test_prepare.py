"""The end of the time budget of a new and of a resumed search."""

import io
import math
import time

import optuna
import pytest
from rich.console import Console

from search_spaces.space import load_space
from tuning.search.options import SearchOptions
from tuning.search.prepare import _deadline
from tuning.study.attributes import read_training_time, save_training_time

NOTE = "Note: the search has used its time budget, so no trial starts: give a new --time-budget.\n"


@pytest.mark.parametrize(
    ("continued", "used", "budget", "left", "note"),
    [
        (False, 7000, 7200, 7200, ""),
        (True, 6900, 7200, 300, ""),
        (True, 7260, 7200, -60, NOTE),
        (True, 7260, math.inf, math.inf, ""),
    ],
    ids=["given again", "killed after 1 h 55 min", "used up", "no budget"],
)
def test_a_resumed_search_has_the_rest_of_its_time_budget(continued, used, budget, left, note):
    study, console = optuna.create_study(), Console(file=io.StringIO(), width=200)
    save_training_time(study, used)
    options = SearchOptions(load_space("demo_space"), time_budget_s=budget, continue_budget=continued)
    assert _deadline(options, study, console) == pytest.approx(time.time() + left, abs=5)
    assert console.file.getvalue() == note
    assert read_training_time(study) == (used if continued else 0)
