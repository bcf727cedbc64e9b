import multiprocessing
import os
import signal
import time

import pytest

from trainables.core.store import Store, default_store


def test_an_entry_is_written_once(tmp_path):
    store, calls = Store(tmp_path), []

    def write(folder):
        calls.append(folder)
        (folder / "file").write_text("content")

    assert store.entry("key", write) == store.entry("key", write) == tmp_path / "key"
    assert (tmp_path / "key" / "file").read_text() == "content"
    assert len(calls) == 1


def test_a_writer_that_raises_leaves_nothing(tmp_path):
    def write(folder):
        (folder / "file").write_text("half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Store(tmp_path).entry("key", write)
    assert [path.name for path in tmp_path.iterdir()] in ([], [".key.lock"])


def _slow_entry(root, count):
    def write(folder):
        with count.get_lock():
            count.value += 1
        time.sleep(0.3)
        (folder / "file").write_text("whole")

    assert (Store(root).entry("key", write) / "file").read_text() == "whole"


def test_racing_processes_write_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    count = context.Value("i", 0)
    racers = [context.Process(target=_slow_entry, args=(tmp_path, count)) for _ in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 6
    assert count.value == 1


def _killed_entry(root):
    def write(folder):
        (folder / "file").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    Store(root).entry("key", write)


def test_a_killed_writer_is_cleaned_up_after(tmp_path):
    killed = multiprocessing.get_context("fork").Process(target=_killed_entry, args=(tmp_path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert list(tmp_path.glob(".key.*.partial"))
    assert not (tmp_path / "key").exists()
    entry = Store(tmp_path).entry("key", lambda folder: (folder / "file").write_text("whole") and None)
    assert (entry / "file").read_text() == "whole"
    assert not list(tmp_path.glob(".key.*.partial"))


def test_the_default_place_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path))
    assert default_store() == tmp_path
    monkeypatch.delenv("TUNE_RUN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "tune-run"
