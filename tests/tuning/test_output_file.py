from pathlib import Path

import pytest

from trainables.core.errors import UserError
from tuning.output_file import check_output_file


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (".", "but . is a folder: add the name of a file"),
        ("..", "but .. is a folder"),
        ("there", "but there is a folder"),
        ("no/such/x.csv", "but no/such is not one: create it, or give another"),
        ("file/x.csv", "but file is not one"),
    ],
)
def test_a_folder_and_a_file_in_none_are_refused(tmp_path, monkeypatch, file, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^--json must be a file in an existing folder, {reason}"):
        check_output_file("--json", Path(file))


@pytest.mark.parametrize("file", ["new.csv", "file", "there/new.csv"])
def test_new_and_existing_files_are_accepted_and_not_touched(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("old")
    check_output_file("--json", Path(file))
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["file", "there"]
    assert (tmp_path / "file").read_text() == "old"
