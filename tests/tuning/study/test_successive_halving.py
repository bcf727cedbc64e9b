"""Pausing and promotion, against asynchronous successive halving written down a second time."""

import itertools
import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuning.study.successive_halving import PausingHalving, rungs


def study(*curves, direction="maximize", states=None):
    """Return a study with one trial per curve of reported values."""
    made = optuna.create_study(direction=direction, pruner=PausingHalving((2, 4)))
    for curve, state in zip(curves, states or itertools.repeat(TrialState.RUNNING), strict=False):
        values = {step + 1: value for step, value in enumerate(curve)}
        value = curve[-1] if state == TrialState.COMPLETE else None
        made.add_trial(create_trial(state=state, value=value, intermediate_values=values))
    return made


def pauses(made):
    return [made.pruner.prune(made, trial) for trial in made.trials]


@pytest.mark.parametrize(("epochs", "at"), [(1, ()), (2, (1,)), (3, (1,)), (4, (1, 2)), (9, (2, 4)), (20, (5, 10))])
def test_trials_are_compared_at_a_quarter_and_a_half_of_their_epochs(epochs, at):
    assert rungs(epochs) == at


def test_one_in_two_continues_and_always_the_best():
    assert pauses(study([0.1, 0.5])) == [False]
    assert pauses(study([0.1, 0.5], [0.1, 0.4], [0.1, 0.6])) == [True, True, False]
    assert pauses(study(*([0.0, value / 10] for value in range(6)))) == [True] * 3 + [False] * 3


def test_trials_between_rungs_continue():
    assert pauses(study([0.9], [0.1], [0.5, 0.9], [0.5, 0.1, 0.1])) == [False, False, False, False]


def test_of_equal_trials_the_first_continues():
    assert pauses(study(*[[0.5, 0.5]] * 3)) == [False, True, True]


def test_lower_is_better_if_minimized_and_nan_is_worst_either_way():
    for direction, best in (("minimize", [True, False, True]), ("maximize", [False, True, True])):
        assert pauses(study([1.0, 0.6], [1.0, 0.4], [1.0, math.nan], direction=direction)) == best


def test_failed_trials_hold_no_place():
    made = study([0.1, 0.9], [0.1, 0.5], states=[TrialState.FAIL, TrialState.RUNNING])
    assert pauses(made)[1] is False


def test_a_paused_trial_is_promoted_once_enough_worse_ones_have_come():
    curves = [[0.0, 0.9, 0.9, 0.9, 0.9], [0.0, 0.8], [0.0, 0.1]]
    made = study(*curves)
    assert made.pruner.promoted(made, {1, 2}) is None
    made = study(*curves, [0.0, 0.1])
    assert made.pruner.promoted(made, {1, 2, 3}) == 1
    assert made.pruner.promoted(made, {2, 3}) is None


def test_a_higher_rung_comes_first():
    low, high = [[0.0, 0.95], *[[0.0, 0.1]] * 2], [[0.0, 0.9, 0.9, 0.9], *[[0.0, 0.8, 0.8, 0.1]] * 2]
    made = study(*low, *high)
    assert made.pruner.promoted(made, {0, 3}) == 3
    assert made.pruner.promoted(made, {0}) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_whole_search_runs_the_trials_that_the_rule_says(seed):
    """Reference: a free worker continues the best waiting trial among the better half of the highest rung."""
    values = np.random.default_rng(seed).permutation(30) / 30
    made = optuna.create_study(direction="maximize", pruner=PausingHalving((2, 4)))
    paused, steps, asked = {}, {}, []
    reference, order = {2: {}, 4: {}}, []
    while True:
        number = made.pruner.promoted(made, paused)
        expected = None
        for rung in (4, 2):
            best = sorted(reference[rung], key=lambda trial: -values[trial])[: max(len(reference[rung]) // 2, 1)]
            waiting = [trial for trial in best if steps[trial] == rung]
            if expected is None and waiting:
                expected = waiting[0]
        assert number == expected
        if number is None:
            if len(asked) == len(values):
                break
            trial = made.ask()
            number = trial.number
            asked.append(trial)
        trial = paused.pop(number, asked[number])
        for step in range(steps.get(number, 0) + 1, 7):
            trial.report(values[number], step)
            steps[number] = step
            if step in reference:
                reference[step][number] = True
            if step < 6 and trial.should_prune():
                paused[number] = trial
                break
        order.append((number, steps[number]))
    assert sum(step == 6 for _, step in order) >= 3
    best = sorted(range(30), key=lambda trial: -values[trial])
    assert all(steps[trial] >= 4 for trial in best[:15])  # half of all pass the first rung
