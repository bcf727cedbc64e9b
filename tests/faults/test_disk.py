"""Full and read-only disks, and two concurrent searches on one disk."""

import subprocess
import time
from pathlib import Path

import pytest

from analysis.trials import read_trials
from tests.searches import SMALL, check_nothing_lost, command, environment, load, search, start_search
from trainables.core.metric_names import Objective
from tuning.study.storage.open_study import open_study, study_storage

pytestmark = [pytest.mark.faults, pytest.mark.ray]
EPOCHS = 12
ARGUMENTS = ["demo_space", "--data", "data", *SMALL, "--max-epochs", EPOCHS, "--num-samples", 4]


@pytest.fixture
def disk(folder):
    """A small disk for the results."""
    place = folder / "results"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a disk: {mounted.stderr.strip()}")
    yield place
    while subprocess.run(["umount", "--lazy", place], capture_output=True).returncode == 0:
        pass  # a failed test may have left a mount on top


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def free(disk):
    (disk / "filler").unlink()


def make_read_only(disk):
    # By a mount on top: the disk itself cannot become read-only while a file is open for writing.
    subprocess.run(["mount", "-o", "bind,ro", disk, disk], check=True)


def make_writable(disk):
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize(
    ("damage", "repair", "reason"),
    [(fill, free, "No space left on device"), (make_read_only, make_writable, "Read-only file system")],
)
def test_an_unwritable_disk_stops_the_search_and_loses_nothing(folder, disk, damage, repair, reason):
    driver = start_search(folder, *ARGUMENTS)
    damage(disk)
    output, _ = driver.communicate(timeout=200)
    assert driver.returncode == 1, output
    assert "Traceback" not in output
    assert "The search failed: " in output
    assert reason in output
    repair(disk)
    before = read_trials(load(folder, "demo_space"))
    assert "FAIL" not in {record.state for record in before}

    search(folder, *ARGUMENTS, "--resume")
    study = load(folder, "demo_space")
    check_nothing_lost(study, f"sqlite:///{folder}/mlflow.db", "demo_space", 4, EPOCHS)
    for old, new in zip(before, read_trials(study), strict=False):
        assert new.epochs[: len(old.epochs)] == old.epochs


def test_a_full_or_read_only_disk_is_refused_before_training(folder, disk):
    fill(disk)
    search(folder, *ARGUMENTS, code=2)
    free(disk)
    make_read_only(disk)
    search(folder, *ARGUMENTS, code=2)
    make_writable(disk)
    assert list(disk.iterdir()) == []

    open_study(
        study_storage(created(disk / "demo_space"), None), "demo_space", Objective("balanced_accuracy"), EPOCHS, seed=0
    )
    make_read_only(disk)
    search(folder, *ARGUMENTS, "--resume", code=2)


def created(folder):
    folder.mkdir()
    return folder


def test_concurrent_searches_are_separate_and_a_second_driver_is_refused(folder):
    names = ("one", "other")
    both = [
        subprocess.Popen(command(*ARGUMENTS, "--name", name), cwd=folder, env=environment(folder), stdout=log)
        for name in names
        for log in [(folder / f"{name}.log").open("w")]
    ]
    while not (folder / "results" / "one" / "study.journal").exists():
        assert both[0].poll() is None
        time.sleep(0.1)
    search(folder, *ARGUMENTS, "--name", "one", code=2)
    search(folder, *ARGUMENTS, "--name", "one", "--resume", code=2)
    assert [driver.wait(300) for driver in both] == [0, 0]
    for name in names:
        records = read_trials(load(folder, name))
        assert [record.number for record in records] == [0, 1, 2, 3]
        assert all(f"/{name}/" in epoch.checkpoint for record in records for epoch in record.epochs)
        assert all(Path(record.epochs[-1].checkpoint).exists() for record in records)
