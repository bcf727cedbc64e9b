import json
from importlib.metadata import PackageNotFoundError

import pytest

from benchmarks import record


@pytest.mark.parametrize(
    ("measured", "low_enough", "high_enough"), [(1.0, True, False), (2.0, True, True), (3.0, False, True)]
)
def test_a_goal_includes_its_limit(measured, low_enough, high_enough):
    assert record.at_most("time", measured, 2).met == low_enough
    assert record.at_least("speed", measured, 2).met == high_enough


def test_a_result_holds_rows_details_and_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    record.record("name", [record.at_most("time", 1.0, 2)], {"runs": 3})
    written = json.loads((tmp_path / "results" / "name.json").read_text())
    assert written["rows"] == [{"measurement": "time", "measured": 1.0, "goal": "<= 2", "met": True}]
    assert written["details"] == {"runs": 3}
    assert written["machine"] == record.machine()


def test_a_machine_without_some_packages_is_described(monkeypatch):
    """A bare GPU machine has no Ray."""

    def version(package):
        if package == "ray":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(record, "version", version)
    machine = record.machine()
    assert (machine["ray"], machine["torch"]) == (None, "1.0")
