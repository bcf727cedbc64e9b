"""Drivers that are paused past their lease, like a suspended laptop: they must write nothing once they wake up."""

import pytest

from tests.tuning.study.paused_driver import check_takeover

pytestmark = pytest.mark.ray


def test_a_paused_driver_of_a_journal_writes_nothing_after_it_lost_the_search(tmp_path):
    """A shared file system may drop the lock of a host that is silent; here its file is removed."""
    check_takeover(tmp_path, None, tmp_path, let_go=(tmp_path / "search" / "driver.lock").unlink)


@pytest.mark.slow
def test_a_paused_driver_of_a_database_writes_nothing_after_it_lost_the_search(tmp_path):
    """Takes 15 s: the second driver waits for three missed beats."""
    url = f"sqlite:///{tmp_path}/study.db"
    check_takeover(tmp_path / "a", url, tmp_path / "b")
