"""A driver of a study in PostgreSQL that is paused past its lease."""

import pytest

from tests.tuning.study.paused_driver import check_takeover

pytestmark = pytest.mark.tracking


@pytest.mark.parametrize("time", range(3))
def test_a_paused_driver_writes_nothing_after_it_lost_the_search(tmp_path, study_url, time):
    """Takes 15 to 30 s each: three missed beats, and PostgreSQL's limit for a transaction that was paused."""
    check_takeover(tmp_path / "a", study_url, tmp_path / "b", within_a_write=True)
