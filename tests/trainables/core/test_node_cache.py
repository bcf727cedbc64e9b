import errno
import gc
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from trainables.core.errors import UserError
from trainables.core.node_cache import Store, StoreFullError, default_store, map_array, write_array

CONTEXT = multiprocessing.get_context("fork")


def filled(size, content=b"x"):
    """Return a writer of one file of ``size`` repeats of ``content``."""
    return lambda folder: (folder / "file").write_bytes(content * size) and None


def content_of(folder):
    return (folder / "file").read_bytes()


def put(store, key, size=10, content=b"x"):
    return store.read(key, filled(size, content), content_of, size)


def entries(root):
    return {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}


def litter(root):
    return [path.name for path in root.iterdir() if path.name.startswith(".") and not path.name.endswith(".lock")]


def test_an_entry_is_written_once(tmp_path):
    store, calls = Store(tmp_path), []

    def write(folder):
        calls.append(folder)
        (folder / "file").write_bytes(b"content")

    assert store.find("key", content_of) is None
    assert store.read("key", write, content_of, 7) == store.read("key", write, content_of, 7) == b"content"
    assert store.find("key", content_of) == b"content"
    assert (tmp_path / "key" / "file").read_bytes() == b"content"
    assert len(calls) == 1


@pytest.mark.parametrize("error", [ValueError("broken"), OSError(errno.ENOSPC, "No space left on device")])
def test_a_writer_that_raises_leaves_nothing(tmp_path, error):
    def write(folder):
        (folder / "file").write_text("half")
        raise error

    with pytest.raises(type(error), match=str(error.args[-1])):
        Store(tmp_path).read("key", write, content_of, 4)
    assert entries(tmp_path) == set() and litter(tmp_path) == []


def _slow_entry(root, count):
    def write(folder):
        with count.get_lock():
            count.value += 1
        time.sleep(0.3)
        (folder / "file").write_bytes(b"whole")

    assert Store(root).read("key", write, content_of, 5) == b"whole"


def run_together(target, arguments):
    processes = [CONTEXT.Process(target=target, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_racing_processes_write_it_once(tmp_path):
    count = CONTEXT.Value("i", 0)
    assert run_together(_slow_entry, [(tmp_path, count)] * 6) == [0] * 6
    assert count.value == 1


def _killed_entry(root, key, size):
    def write(folder):
        (folder / "file").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    Store(root).read(key, write, content_of, size)


@pytest.mark.parametrize("next_key", ["killed", "another"])
def test_the_next_writer_removes_what_a_killed_writer_left(tmp_path, next_key):
    """Its key does not matter. The bytes of the killed writer no longer count."""
    assert run_together(_killed_entry, [(tmp_path, "killed", 90)]) == [-signal.SIGKILL]
    assert litter(tmp_path) and entries(tmp_path) == set()
    put(Store(tmp_path, limit=100), next_key, 50)
    assert litter(tmp_path) == [] and entries(tmp_path) == {next_key}


def array_entry(store, key, values):
    def write(folder):
        write_array(folder / "a.npy", values.shape, values.dtype, [values[:1], values[1:]])

    return store.read(key, write, lambda folder: map_array(folder / "a.npy"), 1000)


def test_numpy_reads_a_written_array(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    mapped = array_entry(Store(tmp_path), "key", values)
    np.testing.assert_array_equal(mapped, values)
    np.testing.assert_array_equal(np.load(tmp_path / "key" / "a.npy"), values)
    assert not mapped.flags.writeable


def test_mapped_entries_are_not_evicted(tmp_path):
    store = Store(tmp_path, limit=2500)
    view = array_entry(store, "mapped", np.arange(100.0))[10:20]  # only a view of the mapping remains
    put(store, "free", 600)
    put(store, "new", 1400)
    assert entries(tmp_path) == {"mapped", "new"}
    with pytest.raises(StoreFullError):
        put(store, "newer", 1600)
    assert entries(tmp_path) == {"mapped", "new"}
    np.testing.assert_array_equal(view, np.arange(10.0, 20.0))
    del view
    gc.collect()
    put(store, "newer", 2400)
    assert entries(tmp_path) == {"newer"}


def test_a_needed_entry_may_exceed_the_limit_next_to_mapped_ones(tmp_path):
    store = Store(tmp_path, limit=1000)
    mapped = array_entry(store, "mapped", np.arange(100.0))
    assert store.read("key", filled(900), content_of, 900, needed=True) == b"x" * 900
    assert entries(tmp_path) == {"mapped", "key"} and mapped[3] == 3
    with pytest.raises(StoreFullError):
        store.read("other", filled(1001), content_of, 1001, needed=True)


def test_an_entry_that_find_mapped_is_not_evicted(tmp_path):
    store = Store(tmp_path, limit=2000)
    array_entry(store, "mapped", np.arange(100.0))
    gc.collect()
    found = store.find("mapped", lambda folder: map_array(folder / "a.npy"))
    with pytest.raises(StoreFullError):
        put(store, "new", 1200)
    assert found[3] == 3


@pytest.mark.parametrize("harm", ["gone", "empty", "short"])
def test_a_torn_entry_is_written_again(tmp_path, harm):
    store = Store(tmp_path)
    array_entry(store, "key", np.arange(100.0))
    file = tmp_path / "key" / "a.npy"
    whole = file.read_bytes()
    file.unlink()
    if harm != "gone":
        file.write_bytes(whole[:0] if harm == "empty" else whole[:-1])
    np.testing.assert_array_equal(array_entry(store, "key", np.arange(100.0)), np.arange(100.0))
    assert file.read_bytes() == whole and litter(tmp_path) == []


def test_an_entry_evicted_between_finding_and_opening_is_written_again(tmp_path):
    store, evicted = Store(tmp_path, limit=100), []

    def read(folder):
        if folder.name == "key" and not evicted:
            evicted.append(put(Store(tmp_path, limit=100), "other", 60))
        return content_of(folder)

    put(store, "key", 60)
    assert store.read("key", filled(60, b"again"), read, 60) == b"again" * 60
    assert evicted


def _hammer(root, seed):
    generator = random.Random(seed)
    store = Store(root, limit=5000)
    for _ in range(60):
        number = generator.randrange(8)
        array = array_entry(store, f"key{number}", np.full(100, float(number)))
        assert (array == number).all()


def test_concurrent_reads_writes_and_evictions_never_give_a_wrong_array(tmp_path):
    """The limit holds five of eight entries and up to four are in use, so most reads write and evict."""
    assert run_together(_hammer, [(tmp_path, seed) for seed in range(2)]) == [0, 0]
    assert 1 <= len(entries(tmp_path)) <= 5 and litter(tmp_path) == []


def test_the_default_folder_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path))
    assert default_store() == tmp_path
    monkeypatch.delenv("TUNE_RUN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "tune-run"


def test_a_cache_that_cannot_be_created_is_named_with_the_remedy(monkeypatch):
    """As where HOME is /dev/null, in many containers and batch systems."""
    for variable in ("TUNE_RUN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    with pytest.raises(UserError, match=r"/dev/null does not allow /dev/null/.cache/tune-run: set TUNE_RUN_CACHE to a"):
        default_store()
