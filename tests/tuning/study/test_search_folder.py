import shutil

import pytest

from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from tuning.study.attributes import mark_finished
from tuning.study.search_folder import find_folder

PLAN = (Objective("accuracy"), 3, 0)


def begun(folder):
    with folder.take(*PLAN) as study:
        return study


def test_a_fresh_name_is_taken_and_nothing_is_created(tmp_path):
    folder = find_folder(str(tmp_path), "search", None, resume=False)
    assert (folder.name, folder.checkpoints) == ("search", str(tmp_path / "search"))
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_search_wants_resume(tmp_path):
    begun(find_folder(str(tmp_path), "search", None, resume=False))
    with pytest.raises(UserError, match="'search' in .* is unfinished: go on with --resume, or take another --name"):
        find_folder(str(tmp_path), "search", None, resume=False)
    assert find_folder(str(tmp_path), "search", None, resume=True).name == "search"


def test_after_finished_ones_the_next_gets_a_number(tmp_path):
    for expected in ("search", "search-2", "search-3"):
        folder = find_folder(str(tmp_path), "search", None, resume=False)
        assert folder.name == expected
        mark_finished(begun(folder), True)
    assert find_folder(str(tmp_path), "search", None, resume=True).name == "search-3"


def test_names_that_end_in_numbers_are_kept_apart(tmp_path):
    mark_finished(begun(find_folder(str(tmp_path), "run-7", None, resume=False)), True)
    assert find_folder(str(tmp_path), "run-7", None, resume=False).name == "run-7-2"


def test_nothing_to_resume_is_refused_and_changes_nothing(tmp_path):
    with pytest.raises(UserError, match="--resume needs a search, but there is none named 'search'"):
        find_folder(str(tmp_path), "search", None, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_one_driver_at_a_time(tmp_path):
    folder = find_folder(str(tmp_path), "search", None, resume=False)
    with folder.take(*PLAN), pytest.raises(UserError, match="one driver at a time"), folder.take(*PLAN):
        pass
    with folder.take(*PLAN) as study:
        assert study.study_name == "search"


def test_remote_storage_wants_a_database(tmp_path):
    with pytest.raises(UserError, match="a study cannot live on s3://bucket: give --study-storage"):
        find_folder("s3://bucket", "search", None, resume=False)
    with pytest.raises(UserError, match="--storage must be a folder, or a URI of s3, gs, .*, but got az://bucket"):
        find_folder("az://bucket", "search", f"sqlite:///{tmp_path}/s.db", resume=False)
    remote = find_folder("s3://bucket/runs/", "search", f"sqlite:///{tmp_path}/s.db", resume=False)
    assert remote.checkpoints == "s3://bucket/runs/search"


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    folder = find_folder(str(tmp_path / "file"), "search", None, resume=False)
    with pytest.raises(UserError, match="--storage must be writable"), folder.take(*PLAN):
        pass


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path):
    folder = find_folder(str(tmp_path), "search", None, resume=False)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UserError, match=r"--storage must have room for a trial's checkpoints, 3 x .*GiB, but "):
        folder.check_room(free, num_samples=1)
    assert folder.check_room(free // 20, num_samples=1) is None
    assert "20 trials may need" in folder.check_room(free // 20, num_samples=20)
    assert list(tmp_path.iterdir()) == []
