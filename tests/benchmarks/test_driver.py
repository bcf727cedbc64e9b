from ray import cloudpickle

import tuning.ray_backend.tuner
from benchmarks import driver


def test_the_measurement_of_the_driver_measures(monkeypatch):
    """In small: its trials report through the real loop, or it would fit nothing."""
    recorded = {}
    monkeypatch.setattr(driver, "record", lambda name, rows, details: recorded.update({name: (rows, details)}))
    monkeypatch.setattr(
        tuning.ray_backend.tuner, "run_trial", tuning.ray_backend.tuner.run_trial
    )  # what it changes is put back
    cloudpickle.register_pickle_by_value(driver)  # as it would be for the program itself: workers know no benchmarks
    try:
        driver.main(trials=50)
    finally:
        cloudpickle.unregister_pickle_by_value(driver)
    (cpu, memory), details = recorded["driver"]
    assert 1 < cpu.measured < 1000
    assert abs(memory.measured) < 10
    assert details["trials"] == 50
