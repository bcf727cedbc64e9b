import pytest

from analysis.trials import EpochRecord, TrialRecord
from tuning.study.repeated_failures import RepeatedFailures

WORKED = None
DIVERGED = "NonFiniteLossError: the train loss became nan in epoch 1"
NO_GPU = "DeviceError: no GPU"
FULL_GPUS = [f"GpuTakenError: other processes hold {60 + number}% of a GPU of 'node-{number}'" for number in range(3)]


def error_after(reasons):
    failures = RepeatedFailures()
    for number, reason in enumerate(reasons):
        epochs = (EpochRecord(1, {}, 0, ""),) if reason is WORKED else ()
        failures.add(TrialRecord(number, "FAIL", {}, {}, epochs, None, () if reason is WORKED else (reason,)))
    return failures.error


@pytest.mark.parametrize(
    "reasons",
    [
        [NO_GPU] * 3,
        [WORKED] + [NO_GPU] * 3,
        [WORKED, *FULL_GPUS],
        [DIVERGED] * 3,
        [f"DataError: '/data/{node}' is missing after 0.{node} s" for node in range(3)],
    ],
    ids=["first trials", "later trials", "GPUs that others fill", "a bad space", "names and numbers differ"],
)
def test_three_trials_that_fail_alike_give_the_search_up(reasons):
    assert error_after(reasons[:-1]) is None
    assert error_after(reasons) == reasons[-1]


@pytest.mark.parametrize(
    "reasons",
    [["a", "b", "a", "a"], ["a", WORKED, "a", "a"], [WORKED, DIVERGED, DIVERGED, DIVERGED]],
    ids=["different errors", "one works in between", "configurations diverge in a working search"],
)
def test_other_searches_continue(reasons):
    assert error_after(reasons) is None
