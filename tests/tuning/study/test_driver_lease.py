"""Leases on a study in a database. Threads stand in for drivers on other hosts."""

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
    """A function that opens the study afresh, as another host would."""
    return lambda: open_study(
        study_storage(tmp_path, f"sqlite:///{tmp_path}/study.db"), "search", Objective("accuracy"), 3, 0
    )


@pytest.fixture
def never():
    """A callback for a lost lease, which must not be called."""
    lost = threading.Event()
    yield lost.set
    assert not lost.is_set()


def test_a_held_study_is_refused_until_it_is_released(study, never):
    refused = pytest.raises(UserError, match="a search can have one driver at a time, but process")
    with leased(study(), never, BEAT_S), refused, leased(study(), never, BEAT_S):
        pass
    with leased(study(), never, BEAT_S):
        pass


def test_the_lease_of_a_dead_driver_expires(study, never):
    dead = study()
    with leased(dead, never, BEAT_S):
        expired = dead.user_attrs["driver"]
    dead.set_user_attr("driver", expired)
    with leased(study(), never, BEAT_S):
        assert study().user_attrs["driver"]["token"] != expired["token"]


def test_a_driver_that_lost_its_lease_is_notified(study):
    lost = threading.Event()
    with leased(study(), lost.set, BEAT_S):
        study().set_user_attr("driver", {"host": "other", "pid": 1, "token": "successor", "beat": 0})
        assert lost.wait(5)
    assert study().user_attrs["driver"]["token"] == "successor"  # the successor keeps its lease


def test_one_of_several_simultaneous_drivers_gets_the_lease(study, never):
    """All of them see a free study; the last one to write gets it."""
    studies = [study() for _ in range(3)]
    started, ended = threading.Barrier(3, timeout=10), threading.Barrier(3, timeout=10)

    def drive(own):
        started.wait()
        try:
            with leased(own, never, 0.5):
                ended.wait()
                return "runs"
        except UserError:
            ended.wait()
            return "refused"

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(drive, studies)) == ["refused", "refused", "runs"]
