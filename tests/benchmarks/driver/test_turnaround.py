from types import SimpleNamespace

import pytest

from benchmarks.driver import turnaround


def test_overhead_is_the_time_per_trial_that_is_not_training(monkeypatch):
    times = turnaround.TrialTimes()
    for ended, trained in ((10.0, 9.0), (12.0, 1.5), (15.0, 2.5)):  # the first trial starts the cluster
        monkeypatch.setattr(turnaround.time, "perf_counter", lambda ended=ended: ended)
        times.on_trial_complete(0, [], SimpleNamespace(last_result={"epoch_seconds": trained}))
    assert times.overhead() == pytest.approx((0.5 + 0.5) / 2)
