"""Leases on a study in a database. Threads stand in for drivers on other hosts."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from tuning.study.storage.driver_lease import leased
from tuning.study.storage.fence import LostSearchError, check_held
from tuning.study.storage.open_study import open_study, study_storage
from tuning.study.storage.optuna_internals import StoredAttribute

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
    yield lambda lease: lost.set()
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


def taken_over(study):
    """Take a study over as a driver on another host does once its holder was silent for long enough."""
    row = StoredAttribute(study, "driver")
    with row.engine.connect() as connection:
        text = row.read(connection)
    assert row.replace(text, json.dumps({"host": "other", "pid": 1, "token": "successor", "beat": 0}))


def test_a_driver_that_lost_its_lease_is_notified(study):
    lost = threading.Event()
    with leased(study(), lambda lease: lost.set(), BEAT_S):
        taken_over(study())
        assert lost.wait(5)
    assert study().user_attrs["driver"]["token"] == "successor"  # the successor keeps its lease


def test_a_driver_that_lost_its_lease_can_write_nothing_more(study):
    """Its next beat is an hour away, so only the check within each write can notice."""
    holders = []
    own = study()
    with leased(own, holders.append, beat_s=3600):
        trial = own.ask()
        check_held(own)
        taken_over(study())
        before = study().trials, study().user_attrs
        for write in (
            lambda: trial.set_user_attr("report", 1),
            lambda: trial.report(0.5, 1),
            lambda: own.tell(trial, 0.5),
            lambda: own.set_user_attr("finished", True),
            own.ask,
            lambda: check_held(own),
        ):
            with pytest.raises(LostSearchError):
                write()
        assert (study().trials, study().user_attrs) == before
    assert {holder["token"] for holder in holders} == {"successor"}
    assert study().user_attrs["driver"]["token"] == "successor"


def test_a_released_study_stays_closed_to_the_driver_that_lost_it(study, never):
    """The successor has ended by the time the first driver wakes up."""
    own = study()
    with leased(own, lambda lease: None, beat_s=3600):
        taken_over(study())
        row = StoredAttribute(study(), "driver")
        with row.engine.connect() as connection:
            text = row.read(connection)
        row.replace(text, json.dumps({**json.loads(text), "released": True}))
        with pytest.raises(LostSearchError):
            own.set_user_attr("finished", True)
    with leased(study(), never, beat_s=3600):  # free at once
        pass


def test_one_of_several_simultaneous_drivers_gets_the_lease(study, never):
    """All of them see a free study; the first one to write gets it."""
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
