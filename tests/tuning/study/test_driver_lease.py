"""Leases on a study in a database, held by threads that stand for drivers on other hosts."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from tuning.study.driver_lease import leased
from tuning.study.open_study import open_study, study_storage

BEAT_S = 0.2


@pytest.fixture
def study(tmp_path):
    """Opens the study anew at each call, as another host would."""
    return lambda: open_study(
        study_storage(tmp_path, f"sqlite:///{tmp_path}/study.db"), "search", Objective("accuracy"), 3, 0
    )


@pytest.fixture
def never():
    """To be called when a lease is lost, which must not happen."""
    lost = threading.Event()
    yield lost.set
    assert not lost.is_set()


def test_a_study_that_is_held_is_refused_and_then_free(study, never):
    refused = pytest.raises(UserError, match="one driver at a time works on a search, but process")
    with leased(study(), never, BEAT_S), refused, leased(study(), never, BEAT_S):
        pass
    with leased(study(), never, BEAT_S):
        pass


def test_a_driver_that_died_is_succeeded(study, never):
    dead = study()
    with leased(dead, never, BEAT_S):
        left = dead.user_attrs["driver"]
    dead.set_user_attr("driver", left)
    with leased(study(), never, BEAT_S):
        assert study().user_attrs["driver"]["token"] != left["token"]


def test_a_driver_that_slept_too_long_learns_that_it_was_succeeded(study):
    lost = threading.Event()
    with leased(study(), lost.set, BEAT_S):
        study().set_user_attr("driver", {"host": "other", "pid": 1, "token": "its own", "beat": 0})
        assert lost.wait(5)
    assert study().user_attrs["driver"]["token"] == "its own"  # and leaves the successor's lease alone


def test_of_drivers_that_begin_at_once_one_goes_on(study, never):
    """Each has seen a free study; the last to write has it."""
    studies = [study() for _ in range(3)]
    begun, ended = threading.Barrier(3, timeout=10), threading.Barrier(3, timeout=10)

    def drive(own):
        begun.wait()
        try:
            with leased(own, never, 0.5):
                ended.wait()
                return "goes on"
        except UserError:
            ended.wait()
            return "refused"

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(drive, studies)) == ["goes on", "refused", "refused"]
