"""When a study counts as converged."""

from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuning.study.convergence import LEAST, convergence

METRIC = "auroc"


def study_of(values, direction="maximize", states=None):
    """Return a study whose trials ended one second after another."""
    study = optuna.create_study(direction=direction)
    for number, value in enumerate(values):
        trial = create_trial(value=value, state=states[number] if states else TrialState.COMPLETE)
        trial.datetime_complete = datetime(2026, 1, 1) + timedelta(seconds=number)
        study.add_trial(trial)
    return study


@pytest.mark.parametrize(
    ("best", "trials", "converged"),
    [(9, 19, False), (9, 20, True), (10, 20, False), (10, 21, True), (30, 40, False), (30, 41, True), (0, 20, True)],
)
def test_the_best_of_at_least_20_trials_must_be_followed_by_10(best, trials, converged):
    values = [0.9 if number == best else 0.5 for number in range(trials)]
    assert (convergence(study_of(values), METRIC) is not None) == converged


def test_the_reason_names_the_best_trial_and_its_score():
    values = [0.5 + number / 100 if number < 8 else 0.5 for number in range(LEAST)]
    assert convergence(study_of(values), METRIC) == (
        "none of the last 12 trials that ran in full beats trial 7 (auroc 0.5700)"
    )


def test_an_equal_score_is_no_improvement():
    values = [0.9 if number in (3, LEAST - 1) else 0.5 for number in range(LEAST)]
    assert "beats trial 3" in convergence(study_of(values), METRIC)


def test_a_loss_improves_when_it_falls():
    rising, falling = [number / 100 for number in range(LEAST)], [-number / 100 for number in range(LEAST)]
    assert convergence(study_of(rising, "minimize"), METRIC) is not None
    assert convergence(study_of(falling, "minimize"), METRIC) is None


def test_only_trials_that_ran_in_full_count():
    states = [TrialState.PRUNED if number % 2 else TrialState.COMPLETE for number in range(2 * LEAST)]
    values = [0.9 if number == 0 else 0.5 for number in range(2 * LEAST)]
    assert convergence(study_of(values, states=states), METRIC) is not None
    assert convergence(study_of(values[:-2], states=states[:-2]), METRIC) is None
