import shutil

import optuna
import pytest

from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from tuning.study.attributes import mark_finished
from tuning.study.identity import STORAGE, check_identity
from tuning.study.search_folder import existing_folder, find_folder
from tuning.study.storage.open_study import JOURNAL

PLAN = (Objective("accuracy"), 3, 0)


def started(folder):
    with folder.open(*PLAN) as study:
        return study


def test_finding_a_folder_creates_nothing(tmp_path):
    folder = find_folder(str(tmp_path), "search", None, resume=False)
    assert (folder.name, folder.checkpoints) == ("search", str(tmp_path / "search"))
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_search_requires_resume(tmp_path):
    started(find_folder(str(tmp_path), "search", None, resume=False))
    with pytest.raises(UserError, match="'search' in .* is unfinished: continue it with --resume --name search"):
        find_folder(str(tmp_path), "search", None, resume=False)
    assert find_folder(str(tmp_path), "search", None, resume=True).name == "search"


def test_a_finished_search_is_followed_by_a_numbered_one(tmp_path):
    for expected in ("search", "search-2", "search-3"):
        folder = find_folder(str(tmp_path), "search", None, resume=False)
        assert folder.name == expected
        mark_finished(started(folder), True)
    assert find_folder(str(tmp_path), "search", None, resume=True).name == "search-3"


def test_a_name_that_ends_in_a_number_is_not_a_numbered_search(tmp_path):
    mark_finished(started(find_folder(str(tmp_path), "run-7", None, resume=False)), True)
    assert find_folder(str(tmp_path), "run-7", None, resume=False).name == "run-7-2"


def test_resume_without_a_search_is_refused_and_creates_nothing(tmp_path):
    with pytest.raises(UserError, match="--resume needs a search, but .* has none of 'search'"):
        find_folder(str(tmp_path), "search", None, resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_database", [False, True])
def test_a_missing_search_is_refused_with_those_that_exist(tmp_path, in_database):
    database = f"sqlite:///{tmp_path}/study.db" if in_database else None
    place, option = ("the database of .*", "--study-storage") if in_database else (tmp_path, "--storage")
    with pytest.raises(UserError, match=f"no search in {place} is called 'search': pass another name, or {option}"):
        existing_folder(str(tmp_path), "search", database)
    for name in ("b", "a"):
        started(find_folder(str(tmp_path), name, database, resume=False))
    with pytest.raises(UserError, match=r"is called 'search' \(found: a, b\): pass another"):
        existing_folder(str(tmp_path), "search", database)
    for number in range(5):
        started(find_folder(str(tmp_path), f"c{number}", database, resume=False))
    with pytest.raises(UserError, match=r"\(found: a, b, c0, c1, c2 and 2 more\)"):
        existing_folder(str(tmp_path), "search", database)


def test_one_driver_at_a_time(tmp_path):
    folder = find_folder(str(tmp_path), "search", None, resume=False)
    with folder.open(*PLAN), pytest.raises(UserError, match="one driver at a time"), folder.open(*PLAN):
        pass
    with folder.open(*PLAN) as study:
        assert study.study_name == "search"


def test_a_search_that_another_driver_created_in_the_meantime_is_not_continued(tmp_path):
    """Two drivers prepare their data at once, and both find that the name is free."""
    late = find_folder(str(tmp_path), "search", None, resume=False)
    mark_finished(started(find_folder(str(tmp_path), "search", None, resume=False)), True)
    with pytest.raises(UserError, match="another driver has just created 'search'"), late.open(*PLAN, new=True):
        pass
    with find_folder(str(tmp_path), "search", None, resume=False).open(*PLAN, new=True) as study:
        assert study.study_name == "search-2"


def test_remote_storage_requires_a_database(tmp_path):
    with pytest.raises(UserError, match="a study cannot be stored on s3://bucket: give --study-storage"):
        find_folder("s3://bucket", "search", None, resume=False)
    with pytest.raises(UserError, match="--storage must be a folder, or a URI of s3, gs, .*, but got az://bucket"):
        find_folder("az://bucket", "search", f"sqlite:///{tmp_path}/s.db", resume=False)
    remote = find_folder("s3://bucket/runs/", "search", f"sqlite:///{tmp_path}/s.db", resume=False)
    assert remote.checkpoints == "s3://bucket/runs/search"


def test_a_folder_that_is_not_writable_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    folder = find_folder(str(tmp_path / "file"), "search", None, resume=False)
    with pytest.raises(UserError, match="--storage must be writable"), folder.open(*PLAN):
        pass


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path):
    folder = find_folder(str(tmp_path), "search", None, resume=False)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UserError, match=r"--storage must have room for the checkpoints of a trial, 3 x .*GiB, but "):
        folder.check_disk_space(free, num_samples=1)
    assert folder.check_disk_space(free // 20, num_samples=1) is None
    assert "20 trials may need" in folder.check_disk_space(free // 20, num_samples=20)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_user_gives_means_one_search(tmp_path):
    mark_finished(started(find_folder(str(tmp_path), "mine", None, resume=False, exact=True)), True)
    with pytest.raises(UserError, match="a search named 'mine' exists in .*: continue it with --resume, or choose"):
        find_folder(str(tmp_path), "mine", None, resume=False, exact=True)
    mark_finished(started(find_folder(str(tmp_path), "mine", None, resume=False)), True)  # the space is called so, too
    assert find_folder(str(tmp_path), "mine", None, resume=True, exact=True).name == "mine"
    assert find_folder(str(tmp_path), "mine", None, resume=True).name == "mine-2"


def test_an_earlier_search_that_is_unfinished_requires_resume_too(tmp_path):
    """A finished search can be extended by --resume, and be interrupted then."""
    first = find_folder(str(tmp_path), "search", None, resume=False)
    mark_finished(started(first), True)
    mark_finished(started(find_folder(str(tmp_path), "search", None, resume=False)), True)
    mark_finished(started(first), False)
    with pytest.raises(UserError, match="'search' in .* is unfinished: continue it with --resume --name search, or"):
        find_folder(str(tmp_path), "search", None, resume=False)


def test_searches_of_other_spaces_do_not_count(tmp_path):
    mark_finished(started(find_folder(str(tmp_path), "space", None, resume=False)), True)
    other = started(find_folder(str(tmp_path), "space-2", None, resume=False, exact=True))  # unfinished
    check_identity(other, {"space": "another space"})
    assert find_folder(str(tmp_path), "space", None, resume=True).name == "space"
    third = find_folder(str(tmp_path), "space", None, resume=False)
    assert third.name == "space-3"
    mark_finished(started(third), True)
    assert find_folder(str(tmp_path), "space", None, resume=True).name == "space-3"


@pytest.mark.parametrize("in_database", [False, True])
@pytest.mark.parametrize("deleted", ["search", "search-2"])
def test_a_deleted_search_does_not_hide_those_that_followed_it(tmp_path, in_database, deleted):
    database = f"sqlite:///{tmp_path}/study.db" if in_database else None
    for finished in (True, True, False):
        folder = find_folder(str(tmp_path), "search", database, resume=False)
        mark_finished(started(folder), finished)
    if in_database:
        optuna.delete_study(study_name=deleted, storage=database)
    else:
        shutil.rmtree(tmp_path / deleted)
    assert find_folder(str(tmp_path), "search", database, resume=True).name == "search-3"
    with pytest.raises(UserError, match="'search-3' in .* is unfinished"):
        find_folder(str(tmp_path), "search", database, resume=False)
    mark_finished(started(folder), True)
    assert find_folder(str(tmp_path), "search", database, resume=False).name == "search-4"


def test_a_date_in_a_name_is_no_count(tmp_path):
    mark_finished(started(find_folder(str(tmp_path), "search-20261130", None, resume=False, exact=True)), True)
    assert find_folder(str(tmp_path), "search", None, resume=False).name == "search"
    with pytest.raises(UserError, match="has none of 'search'"):
        find_folder(str(tmp_path), "search", None, resume=True)


def test_a_search_in_a_database_must_keep_its_storage(tmp_path):
    """Its unfinished trials would not find their checkpoints."""
    database = f"sqlite:///{tmp_path}/study.db"
    first = find_folder(str(tmp_path / "a"), "search", database, resume=False)
    check_identity(started(first), {STORAGE: first.fixed_root})
    check_identity(first.load(), {STORAGE: find_folder(f"{tmp_path}/./a", "search", database, True).fixed_root})
    moved = find_folder(str(tmp_path / "b"), "search", database, resume=True)
    with pytest.raises(UserError, match="must keep its --storage, but '.*/a' became '.*/b': use the original value"):
        check_identity(moved.load(), {STORAGE: moved.fixed_root})
    assert find_folder(str(tmp_path / "a"), "search", None, resume=False).fixed_root is None


def test_a_search_in_a_database_is_not_said_to_be_in_the_folder(tmp_path):
    database = f"sqlite:///{tmp_path}/study.db"
    started(find_folder(str(tmp_path / "a"), "search", database, resume=False))
    reasons = {False: "search 'search' in {} is unfinished", True: "a search named 'search' exists in {}"}
    for exact, reason in reasons.items():
        with pytest.raises(UserError, match=reason.format("the database of --study-storage")):
            find_folder(str(tmp_path / "b"), "search", database, resume=False, exact=exact)


def test_reading_a_search_writes_nothing(tmp_path):
    """The folder may be a colleague's, and its last line may be partial."""
    started(find_folder(str(tmp_path), "search", None, resume=False)).set_user_attr("last", 1)
    journal = tmp_path / "search" / JOURNAL
    with journal.open("a") as file:
        file.write('{"op_code": 2, "par')
    for lock in (tmp_path / "search").glob("*.lock"):
        lock.unlink()
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in (tmp_path / "search").iterdir()}
    assert existing_folder(str(tmp_path), "search", None)[1].user_attrs["last"] == 1
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in (tmp_path / "search").iterdir()} == before
