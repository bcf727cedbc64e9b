from pathlib import Path

import pytest

from trainables.core.errors import UserError
from tuning.output_file import check_output_file, data_files


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


@pytest.mark.parametrize("name", ["labels.csv", "link.csv", "below/../labels.csv"])
def test_an_output_does_not_replace_an_input(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "labels.csv").write_text("image,label\n")
    (tmp_path / "link.csv").symlink_to("labels.csv")
    (tmp_path / "other.csv").touch()
    inputs = data_files("below", ["gone.csv", "labels.csv", None])
    with pytest.raises(UserError, match=f"^--json must not be one of the inputs, but {name} is: give another name"):
        check_output_file("--json", Path(name), inputs)
    for other in ("other.csv", "new.csv", "gone.csv"):
        check_output_file("--json", Path(other), inputs)


def test_tables_in_the_folder_of_the_data_are_inputs(tmp_path):
    (tmp_path / "labels.csv").touch()
    with pytest.raises(UserError, match="--out must not be one of the inputs"):
        check_output_file("--out", tmp_path / "labels.csv", data_files(str(tmp_path), ["labels.csv"]))
