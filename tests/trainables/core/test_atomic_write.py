import signal
import subprocess
import sys

import pytest

from trainables.core.atomic_write import atomic_file, atomic_folder

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from trainables.core.atomic_write import atomic_file
with atomic_file(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_is_replaced_at_the_end(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with atomic_file(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_is_unchanged_if_the_block_raises(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(ValueError, match="broken"), atomic_file(file) as partial:
        partial.write_text("half")
        raise ValueError("broken")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_file_unchanged(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    writer = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(file)], check=False)
    assert writer.returncode == -signal.SIGKILL
    assert file.read_text() == "old"
    assert all(name == "a.txt" or name.startswith(".") for name in names(tmp_path))


def test_a_folder_appears_at_the_end(tmp_path):
    folder = tmp_path / "deep" / "a"
    with atomic_folder(folder) as partial:
        (partial / "file").write_text("content")
        assert not folder.exists()
    assert (folder / "file").read_text() == "content"
    assert names(folder.parent) == ["a"]


def test_a_folder_does_not_appear_if_the_block_raises(tmp_path):
    with pytest.raises(ValueError, match="broken"), atomic_folder(tmp_path / "a") as partial:
        (partial / "file").write_text("half")
        raise ValueError("broken")
    assert names(tmp_path) == []


def test_a_folder_with_files_is_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("old")
    with pytest.raises(OSError), atomic_folder(tmp_path / "a") as partial:
        (partial / "file").write_text("new")
    assert (tmp_path / "a" / "file").read_text() == "old"
    assert names(tmp_path) == ["a"]
