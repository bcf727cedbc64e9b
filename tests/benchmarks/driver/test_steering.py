import numpy as np
import pytest
from ray import cloudpickle

import tuning.ray_backend.tuner
from benchmarks.driver import steering
from tuning.study.successive_halving import rungs

pytestmark = pytest.mark.ray


@pytest.mark.slow
def test_every_trial_reports_at_least_up_to_the_first_rung(monkeypatch):
    """Takes about 30 s: it starts Ray and runs 50 trials."""
    recorded = {}
    monkeypatch.setattr(steering, "record", lambda name, rows, details: recorded.update({name: (rows, details)}))
    run_trial = tuning.ray_backend.tuner.run_trial
    monkeypatch.setattr(tuning.ray_backend.tuner, "run_trial", run_trial)  # restores it after steering.main replaces it
    cloudpickle.register_pickle_by_value(steering)  # workers cannot import benchmarks
    try:
        steering.main(trials=50)
    finally:
        cloudpickle.unregister_pickle_by_value(steering)
    rows, details = recorded["steering"]
    assert 50 * min(rungs(steering.REPORTS)) <= details["reports"] <= 50 * steering.REPORTS
    assert all(np.isfinite(row.measured) for row in rows)


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_memory_per_trial_is_the_slope_after_the_first_tenth(slope):
    usage = steering.DriverUsage()
    usage.resident = [*np.linspace(0, 500, 20), *(500 + slope * np.arange(180))]  # caches fill in the first tenth
    assert usage.line() == pytest.approx((slope, 0), abs=1e-9)
