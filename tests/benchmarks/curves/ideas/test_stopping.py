"""Rules that extrapolate curves, on curves that follow a known law."""

import numpy as np
import optuna
import pytest

from benchmarks.curves.ideas.stopping import ExpectedGain, PowerLawPosterior

EPOCHS = 9


def power_law(end, height, power):
    return end - height * np.arange(1, EPOCHS + 1) ** -power


def decision(rule, curves, scores):
    """Return what the rule decides about a trial with some scores, after trials with whole curves."""
    study = optuna.create_study(direction="maximize", pruner=rule)
    for curve in [*curves, scores]:
        trial = study.ask()
        for epoch, score in enumerate(curve, start=1):
            trial.report(float(score), epoch)
    return trial.should_prune()


@pytest.mark.parametrize("seen", [3, 5])
def test_a_power_law_that_ends_below_the_best_trial_is_stopped_and_one_that_ends_above_it_continues(seen):
    rule, best = PowerLawPosterior(EPOCHS), [power_law(0.9, 0.1, 1.0)]
    assert decision(rule, best, power_law(0.5, 0.02, 1.0)[:seen])
    assert not decision(rule, best, power_law(1.0, 0.6, 1.0)[:seen])
    assert not decision(rule, best, [0.2])  # one epoch tells no curve
    assert not decision(rule, best, power_law(0.5, 0.02, 1.0))  # it has run in full
    assert not decision(rule, [], power_law(0.5, 0.02, 1.0)[:seen])  # there is nothing better


def test_a_trial_is_stopped_if_the_usual_gain_would_not_make_it_the_best():
    gains = [power_law(0.9 - 0.01 * place, 0.2, 1.0) for place in range(5)]
    rule = ExpectedGain(EPOCHS)
    usual = gains[0][-1] - gains[0][1]
    assert decision(rule, gains, [0.5, gains[0][-1] - usual - 0.01])
    assert not decision(rule, gains, [0.5, gains[0][-1] - usual + 0.01])
    assert not decision(rule, gains[:4], [0.1, 0.1])  # too few trials ran in full
