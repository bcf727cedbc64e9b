from pathlib import Path

import pytest

from trainables.worker.node_requirements import DRIVER, NodeRequirements, missing_requirements, versions


@pytest.fixture
def storage(tmp_path):
    (tmp_path / DRIVER).touch()
    return str(tmp_path)


@pytest.fixture(autouse=True)
def host(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-7")


def test_a_node_like_the_driver_meets_all_requirements(storage):
    assert missing_requirements(NodeRequirements(versions(), (storage, Path(storage).as_uri()), storage)) == ()


def test_another_version_is_reported_with_the_remedy(storage):
    required = tuple((package, "0.1" if package == "timm" else installed) for package, installed in versions())
    (line,) = missing_requirements(NodeRequirements(required, (), storage))
    assert line.startswith("gpu-7 has timm ")
    assert line.endswith(", the driver 0.1: install constraints.txt there")


@pytest.mark.parametrize("place", ["/nowhere/at/all", "file:///nowhere/at/all", "carrier-pigeon://images"])
def test_data_and_weights_must_be_readable(storage, place):
    (line,) = missing_requirements(NodeRequirements((), (place,), storage))
    assert line.startswith(f"gpu-7 cannot read {place}: give --data and --weights as folders that all nodes share")


def test_storage_must_hold_the_file_of_the_driver(tmp_path):
    (line,) = missing_requirements(NodeRequirements((), (), str(tmp_path)))
    assert "cannot read the driver's files in --storage: give --storage as a folder that all" in line


@pytest.mark.parametrize("place", ["", "carrier-pigeon://results"])
def test_storage_must_be_writable(storage, monkeypatch, place):
    monkeypatch.setattr("socket.gethostname", lambda: "no/such/folder")  # as root, any other path is writable
    (line,) = missing_requirements(NodeRequirements((), (), place or storage))
    assert "cannot write to --storage" in line
