import numpy as np
import optuna
import pytest

from analysis.trials import EpochRecord, TrialRecord, pareto_front, read_trial

METRICS = ("accuracy", "latency_ms")


def trial(number, values, state="COMPLETE"):
    metrics = {f"best_{name}": float(value) for name, value in zip(METRICS, values, strict=True)}
    return TrialRecord(number, state, {}, {}, (EpochRecord(1, metrics, 0, ""),), None, ())


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_that_of_brute_force(seed):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 8, (40, 2))  # with ties
    records = [trial(number, pair) for number, pair in enumerate(values)]
    front = pareto_front(records, METRICS)

    def beats(one, other):
        return one[0] >= other[0] and one[1] <= other[1] and tuple(one) != tuple(other)

    expected = {number for number, pair in enumerate(values) if not any(beats(other, pair) for other in values)}
    assert {record.number for record in front} == expected
    accuracies = [record.objectives(METRICS)[0] for record in front]
    assert accuracies == sorted(accuracies, reverse=True)


def test_stopped_and_failed_trials_are_not_on_the_front():
    records = [trial(0, (0.9, 1), "PRUNED"), trial(1, (0.5, 5)), trial(2, (0.9, 1), "FAIL")]
    assert [record.number for record in pareto_front(records, METRICS)] == [1]
    assert pareto_front([], METRICS) == []


def test_nan_is_beaten():
    records = [trial(0, (np.nan, 1)), trial(1, (0.5, 1))]
    assert [record.number for record in pareto_front(records, METRICS)] == [1]


def test_epochs_are_read_in_order_up_to_the_longest_training_that_is_allowed():
    study = optuna.create_study()
    study_trial = study.ask()
    for epoch in (100_000, 99_999, 1):
        study_trial.set_user_attr(*EpochRecord(epoch, {}, 0, "").attribute())
    assert [record.epoch for record in read_trial(study.trials[0]).epochs] == [1, 99_999, 100_000]
