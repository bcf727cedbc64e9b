import pytest

from trainables.node import DRIVER, NodeError, check_versions, differences, lacks, versions


def test_the_same_versions_do_not_differ():
    assert differences(versions()) == []
    check_versions(versions())


def test_what_differs_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-7")
    with pytest.raises(NodeError, match=r"^gpu-7 has timm \S+, the driver 0.1: install constraints.txt there$"):
        check_versions(versions() | {"timm": "0.1"})


def test_storage_must_be_the_very_folder_that_the_driver_writes_to(tmp_path):
    (unseen,) = lacks({}, [], str(tmp_path))
    assert unseen.startswith("does not see what the driver writes to --storage: give --storage as a folder that all")
    (tmp_path / DRIVER).touch()
    assert lacks({}, [], str(tmp_path)) == []


def test_storage_must_be_writable(tmp_path, monkeypatch):
    (tmp_path / DRIVER).touch()
    monkeypatch.setattr("socket.gethostname", lambda: "no/such/folder")  # root may write everywhere else
    (cannot,) = lacks({}, [], str(tmp_path))
    assert cannot.startswith("cannot write to --storage")
