"""Storages of a study: a journal that survives full disks and power failures, or a database."""

import errno
import json

import pytest
from optuna.storages.journal import JournalFileBackend

from analysis.trials import read_trials
from tests.tuning.study.driver import Driver
from trainables.core.errors import UserError
from tuning.study.storage.open_study import JOURNAL, study_storage


def test_an_unreachable_database_is_a_usage_error(tmp_path):
    with pytest.raises(UserError, match="--study-storage must be the URL of a database that can be reached"):
        study_storage(tmp_path, "postgresql://nobody@localhost:1/none")


def test_a_full_disk_leaves_no_partial_line(tmp_path, monkeypatch):
    """The disk accepts half a line; the next write must not be appended to it."""
    driver = Driver(tmp_path)
    driver.run()
    whole = (tmp_path / JOURNAL).read_text()

    def fill_up(backend, logs):
        with (tmp_path / JOURNAL).open("a") as file:
            file.write(json.dumps(logs[0])[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(JournalFileBackend, "append_logs", fill_up)
        with pytest.raises(OSError, match="No space left"):
            driver.study.set_user_attr("too", "much")
    assert (tmp_path / JOURNAL).read_text() == whole
    driver.run()
    assert len(read_trials(Driver(tmp_path).study)) == 2


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_partial_last_line_of_the_journal_is_removed(tmp_path, cut):
    Driver(tmp_path).run()
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    driver = Driver(tmp_path)  # its first write must not be appended to the partial line
    driver.run()
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    assert len(read_trials(Driver(tmp_path).study)) == 2


def test_a_search_can_use_a_database(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    first = Driver(tmp_path, url=url)
    first.run()
    trial_id, _ = first.start()
    first.report(trial_id, 1, 0.7)
    second = Driver(tmp_path, url=url)
    assert second.start()[1]["resume_from"][0].endswith("/checkpoint_000001")
    assert [record.state for record in read_trials(second.study)] == ["COMPLETE", "RUNNING"]
