import warnings

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tuning.study.two_objective_sampler import TwoObjectiveSampler


def tpe(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed, n_startup_trials=10)


def objective(trial):
    """Two conflicting objectives: accuracy and latency grow with x. y only harms, so the best trade-offs have y = 0."""
    kind = trial.suggest_categorical("kind", ["small", "large"])
    x = trial.suggest_float(f"x_{kind}", 0, 1)
    y = trial.suggest_float("y", 0, 1)
    gain = 0.5 if kind == "small" else 1.0
    return gain * x - y**2, 10 * gain * x + 5 * y


def search(sampler_of, seed, count=50, storage=None):
    second = {}
    sampler = sampler_of(lambda trial: (trial.value, second[trial.number]))
    pruner = optuna.pruners.NopPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, storage=storage)
    for _ in range(count):
        trial = study.ask()
        accuracy, second[trial.number] = objective(trial)
        if trial.number % 7 == 3:  # pruned
            trial.report(accuracy - 1, 1)
            study.tell(trial, state=TrialState.PRUNED)
        elif trial.number % 11 == 5:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, accuracy)
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    return study, [(trial.value, second[trial.number]) for trial in complete]


def hypervolume(points):
    """Return the area that the front dominates within accuracy > -1 and latency < 15."""
    area, best = 0.0, 15.0
    for accuracy, latency in sorted(points, reverse=True):
        if latency < best:
            area += (accuracy + 1) * (best - latency)
            best = latency
    return area


def two(seed):
    return lambda values: TwoObjectiveSampler(tpe(seed), ("accuracy", "latency_ms"), values)


@pytest.mark.parametrize("seed", range(2))
def test_it_samples_as_in_a_study_with_two_objectives(seed):
    _, ours = search(two(seed), seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=tpe(seed))
    numbers = []
    for _ in range(50):
        trial = study.ask()
        values = objective(trial)
        if trial.number % 7 == 3:
            study.tell(trial, state=TrialState.PRUNED)
        elif trial.number % 11 == 5:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, values)
            numbers.append(values)
    np.testing.assert_allclose(ours, numbers)


def test_it_covers_more_than_random_search():
    def volumes(sampler_of):
        return [hypervolume(search(sampler_of(seed), seed)[1]) for seed in range(4)]

    assert np.mean(volumes(two)) > np.mean(volumes(lambda seed: lambda values: RandomSampler(seed=seed)))


def test_the_study_keeps_the_first_objective_and_its_pruned_trials():
    study, _ = search(two(0), 0, count=20)
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE]
    assert [trial.number for trial in study.trials if trial.state == TrialState.PRUNED] == [3, 10, 17]


def test_it_samples_the_same_in_a_database_that_holds_other_searches():
    """IDs of trials in a database are not their numbers."""
    database = RDBStorage("sqlite:///:memory:")
    search(two(0), 0, count=1, storage=database)
    in_database, in_memory = search(two(0), 0, count=13, storage=database), search(two(0), 0, count=13)
    np.testing.assert_allclose(in_database[1], in_memory[1])


def test_a_trial_whose_second_value_is_nan_counts_as_failed():
    def asked(last_state, last_value):
        values = {}
        sampler = two(0)(lambda trial: (trial.value, values[trial.number]))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for _ in range(14):
            trial = study.ask()
            accuracy, values[trial.number] = objective(trial)
            study.tell(trial, accuracy)
        trial = study.ask()
        accuracy, _ = objective(trial)
        values[trial.number] = last_value
        study.tell(trial, accuracy if last_state == TrialState.COMPLETE else None, last_state)
        trial = study.ask()
        objective(trial)
        return trial.params

    assert asked(TrialState.COMPLETE, float("nan")) == asked(TrialState.FAIL, None)
