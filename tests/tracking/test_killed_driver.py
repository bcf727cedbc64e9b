"""A driver of a study in PostgreSQL that is killed, or whose connections break."""

import subprocess
import sys
import time

import pytest
from sqlalchemy import NullPool, create_engine, text

from tests.tuning.study.paused_driver import DRIVER, PLAN
from trainables.core.errors import UserError
from tuning.study.search_folder import find_folder
from tuning.study.storage.advisory_lock import AdvisoryLock
from tuning.study.storage.driver_lease import _BEAT_S, _MISSED_BEATS

pytestmark = pytest.mark.tracking


@pytest.fixture
def engine(study_url):
    return create_engine(study_url, poolclass=NullPool)


def end_connections(engine):
    """End every other connection to the database, as a restart of the server does."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        others = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()")
        ended = set(connection.scalars(others))
        assert ended
        for process in ended:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": process})
        while ended & set(connection.scalars(others)):
            time.sleep(0.05)


def test_a_lock_ends_with_its_connection_and_is_taken_again(engine):
    first, second, other = AdvisoryLock(engine, "a"), AdvisoryLock(engine, "a"), AdvisoryLock(engine, "b")
    assert (first.take(), first.take(), second.take(), other.take()) == (True, True, False, True)
    end_connections(engine)
    assert (second.take(), first.take()) == (True, False)
    second.close()
    while not first.take():  # PostgreSQL takes a moment to see that a connection has ended
        time.sleep(0.05)
    first.close()
    other.close()


@pytest.fixture
def driver(tmp_path, study_url):
    """A driver process that has a search."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "a"), study_url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_a_killed_driver_is_followed_sooner_than_a_silent_one(driver, tmp_path, study_url):
    driver.kill()
    start = time.monotonic()
    with find_folder(str(tmp_path / "b"), "search", study_url, resume=True).open(*PLAN):
        assert time.monotonic() - start < _MISSED_BEATS * _BEAT_S


def test_a_driver_keeps_its_search_and_writes_on_when_its_connections_break(driver, engine, tmp_path, study_url):
    end_connections(engine)
    driver.stdin.write("\n")
    driver.stdin.flush()
    while find_folder(str(tmp_path / "b"), "search", study_url, resume=True).load().user_attrs["written"] <= 20:
        assert driver.poll() is None
        time.sleep(0.1)
    with (
        pytest.raises(UserError, match=f"process {driver.pid} on"),
        find_folder(str(tmp_path / "b"), "search", study_url, resume=True).open(*PLAN),
    ):
        pass
