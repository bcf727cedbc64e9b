from pathlib import Path

import pytest

from trainables.worker.node_requirements import DRIVER, Demands, lacks, versions


@pytest.fixture
def storage(tmp_path):
    (tmp_path / DRIVER).touch()
    return str(tmp_path)


@pytest.fixture(autouse=True)
def host(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-7")


def test_a_node_like_the_driver_lacks_nothing(storage):
    assert lacks(Demands(versions(), (storage, Path(storage).as_uri()), storage)) == ()


def test_what_differs_is_named_with_the_remedy(storage):
    expected = tuple((package, "0.1" if package == "timm" else there) for package, there in versions())
    (differs,) = lacks(Demands(expected, (), storage))
    assert differs.startswith("gpu-7 has timm ")
    assert differs.endswith(", the driver 0.1: install constraints.txt there")


@pytest.mark.parametrize("place", ["/nowhere/at/all", "file:///nowhere/at/all", "carrier-pigeon://images"])
def test_data_and_weights_must_be_seen(storage, place):
    (unseen,) = lacks(Demands((), (place,), storage))
    assert unseen.startswith(f"gpu-7 does not see {place}: give --data and --weights as folders that all nodes share")


def test_storage_must_be_the_very_folder_that_the_driver_writes_to(tmp_path):
    (unseen,) = lacks(Demands((), (), str(tmp_path)))
    assert "does not see what the driver writes to --storage: give --storage as a folder that all" in unseen


@pytest.mark.parametrize("place", ["", "carrier-pigeon://results"])
def test_storage_must_be_writable(storage, monkeypatch, place):
    monkeypatch.setattr("socket.gethostname", lambda: "no/such/folder")  # root may write everywhere else
    (cannot,) = lacks(Demands((), (), place or storage))
    assert "cannot write to --storage" in cannot
