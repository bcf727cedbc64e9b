"""The predicted seconds, and their effect on the sampler."""

import numpy as np
import optuna
from optuna.samplers import TPESampler

from analysis.trials import EpochRecord
from benchmarks.curves.ideas.per_second import LEAST_TRIALS, divide_by_seconds, log_seconds
from tuning.study.record_trial import save_report

SLOW = 50.0


def searched(trials, sampler):
    """Return a study of trials that are equally good, and whose epochs take 1 or ``SLOW`` seconds."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    divide_by_seconds(study)
    for number in range(trials):
        trial = study.ask()
        seconds = {"fast": 1.0, "slow": SLOW}[trial.suggest_categorical("backbone", ["fast", "slow"])]
        trial.suggest_float("lr", 0, 1)
        metrics = {"best_accuracy": 0.5 + 0.001 * (number % 2), "epoch_seconds": seconds}
        save_report(trial, EpochRecord(1, metrics, 0, "checkpoint"), "accuracy")
        study.tell(trial, metrics["best_accuracy"])
    return study


def sampler():
    return TPESampler(n_startup_trials=LEAST_TRIALS, multivariate=True, group=True, seed=0)


def test_seconds_are_predicted_from_the_parameters():
    study = searched(20, sampler())
    predicted = log_seconds(study, {"backbone": np.array([0.0, 1.0]), "lr": np.array([0.5, 0.5])})
    assert np.exp(predicted[0]) < 3
    assert np.exp(predicted[1]) > SLOW / 3
    assert not log_seconds(searched(LEAST_TRIALS - 1, sampler()), {"lr": np.zeros(3)}).any()


def test_of_equally_good_trials_the_sampler_asks_for_the_fast_ones():
    asked = [trial.params["backbone"] for trial in searched(40, sampler()).trials[20:]]
    assert asked.count("fast") > 15
