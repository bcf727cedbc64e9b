from benchmarks import driver


def test_the_measurement_of_the_driver_measures(monkeypatch):
    """In small: its trials report through the real loop, or it would fit nothing."""
    recorded = {}
    monkeypatch.setattr(driver, "record", lambda name, rows, details: recorded.update({name: (rows, details)}))
    driver.main(trials=50)
    (cpu, memory), details = recorded["driver"]
    assert 1 < cpu.measured < 1000
    assert abs(memory.measured) < 10
    assert details["trials"] == 50
