"""The search methods: what they ask for and how they decide, and the process that a pipe serves."""

import os
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest

from benchmarks.curves import peers
from benchmarks.curves.compare import SLOW, all_methods
from benchmarks.curves.configurations import draw_params, recipes
from benchmarks.curves.make_portfolio import choose
from benchmarks.curves.peers.pipe import complete, piped, read_params
from benchmarks.curves.peers.ray_tune import ours
from benchmarks.curves.replay import Decision, Recorded, Replay, Task
from benchmarks.curves.table import Curve

EPOCHS = 9
# Pythons of the environments with the peers' libraries; without them, those methods are not tested.
PYTHONS = [Path(python) if (python := os.environ.get(name)) else None for name in ("SYNE_TUNE_PYTHON", "NEPS_PYTHON")]
METHODS = {name: method for name, method in all_methods(*PYTHONS).items() if name != SLOW}
SERVED = """
import sys
sys.path.insert(0, {folder!r})
from serve import serve

class Search:
    def __init__(self, task):
        self.task, self.trials = task, 0
        print("a line that must not reach the pipe")

    def ask(self):
        self.trials += 1
        number = self.trials - 1
        return {{"trial": number, "params": self.task["recipes"][number]}} if number < 2 else {{}}

    def report(self, trial, epoch, score, seconds):
        return "stop" if score < 0.5 else "continue"

    def end(self, trial, failed):
        pass

serve(Search)
"""


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def task(seed=0):
    others = {
        name: tuple(Recorded(params, 0.1 * place, 0.1 * place, 1.0) for place, params in enumerate(draw_params(4)))
        for name in "ab"
    }
    return Task("tb", EPOCHS, seed, tuple(recipes().values())[:2], others)


def curve(score):
    tune = np.linspace(0.1, score, EPOCHS)
    return Curve(tune, np.ones(EPOCHS), tune, tune)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_searches_until_the_end_and_repeats_itself(name):
    def search():
        asked = []

        def curve_of(params):
            asked.append(params)
            return curve(0.2 + 0.1 * params["frozen_quarters"])

        replay = Replay(METHODS[name](task()), curve_of, lambda _: 0.0, workers=2, end=60.0)
        return asked, replay.run(), replay.time

    asked, incumbents, time = search()
    assert time > 50
    assert len(asked) > 60 * 2 / EPOCHS  # some trials are stopped early
    assert search()[0] == asked
    assert [one.tune for one in incumbents] == sorted(one.tune for one in incumbents)


def test_ours_tries_the_portfolio_and_the_recipes_first_and_pauses_the_worse_ones_at_a_quarter():
    search = ours(task())
    jobs = [search.ask() for _ in range(3)]
    assert [job.params for job in jobs] == choose(task().others)[:3]
    decisions = {
        (job.trial, epoch): search.report(job.trial, epoch, 0.9 - 0.1 * job.trial, 1.0)
        for job in jobs
        for epoch in (1, 2)
    }
    assert {key for key, decision in decisions.items() if decision is Decision.PAUSE} == {(1, 2), (2, 2)}
    assert search.ask().trial == 3
    assert [search.report(3, epoch, 0.1, 1.0) for epoch in (1, 2)] == [Decision.CONTINUE, Decision.PAUSE]
    assert search.ask().trial == 1  # the second of four that have reached the rung


def test_a_portfolio_is_chosen_among_the_configurations_that_all_data_sets_have():
    params = draw_params(4)
    better = Recorded(params[3], 1.0, 1.0, 1.0)  # recorded on one data set only
    others = {
        "a": (better, *(Recorded(params[place], 0.5, score, 1.0) for place, score in enumerate((0.1, 0.9, 0.5)))),
        "b": tuple(Recorded(params[place], 0.5, score, 1.0) for place, score in enumerate((0.9, 0.2, 0.8))),
    }
    assert choose(others, size=2) == [params[2], params[1]]


def test_a_served_process_searches(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(SERVED.format(folder=str(Path(peers.__file__).parent)))
    search = piped(sys.executable, str(script))(task())
    jobs = [search.ask(), search.ask()]
    assert [job.params for job in jobs] == list(task().recipes)
    assert search.ask() is None
    assert search.report(0, 1, 0.4, 1.0) is Decision.STOP
    assert search.report(1, 1, 0.6, 1.0) is Decision.CONTINUE
    search.end(0, failed=False)


def test_parameters_without_conditions_come_back_as_those_that_are_read():
    for params in draw_params(30):
        assert read_params(complete(params)) == pytest.approx(params)


def test_parameters_outside_a_range_are_moved_to_its_end():
    flat = {**complete(recipes()["resnet50_mlp"]), "schedule": "cyclic", "cycle_epochs": 1, "head_dropout": 0.62}
    assert read_params(flat)["cycle_epochs"] == 2
    assert read_params(flat)["head_dropout"] == 0.6
