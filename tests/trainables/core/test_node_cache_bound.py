"""Size limit of the cache, and the eviction that keeps it."""

import os

import pytest

from tests.trainables.core.test_node_cache import content_of, entries, litter, put
from trainables.core.errors import UserError
from trainables.core.node_cache import Store, StoreFullError, parse_size


def test_the_least_recently_used_entries_are_evicted(tmp_path):
    store = Store(tmp_path, limit=100)
    for number, key in enumerate("abcd"):
        put(store, key, 25)
        os.utime(tmp_path / key, (number, number))
    assert store.find("a", content_of)  # a use: now b is the oldest
    put(store, "e", 40)
    assert entries(tmp_path) == {"a", "d", "e"}
    assert litter(tmp_path) == []


def test_files_in_subfolders_count_and_folders_do_not(tmp_path):
    store = Store(tmp_path, limit=100)

    def write(folder):
        (folder / "data").mkdir()
        (folder / "data" / "file").write_bytes(b"x" * 50)

    for key in "ab":
        store.read(key, write, os.listdir, 50)
    assert entries(tmp_path) == {"a", "b"}
    put(store, "c", 1)
    assert len(entries(tmp_path)) == 2


def test_an_evicted_entry_can_be_written_again(tmp_path):
    store = Store(tmp_path, limit=100)
    put(store, "a", 60)
    put(store, "b", 60)
    assert entries(tmp_path) == {"b"}
    assert put(store, "a", 60, b"y") == b"y" * 60


def test_an_entry_above_the_limit_is_refused_and_evicts_nothing(tmp_path):
    store = Store(tmp_path, limit=100)
    put(store, "a", 60)
    with pytest.raises(StoreFullError, match="is limited to 1e-07 GB, too little for 1.01e-07 GB.*TUNE_RUN_CACHE_SIZE"):
        put(store, "b", 101)
    assert entries(tmp_path) == {"a"} and litter(tmp_path) == []


def test_free_disk_space_is_a_limit_too(tmp_path, monkeypatch):
    store = Store(tmp_path, limit=10**6)
    put(store, "a", 60)
    usage = type("Usage", (), {"free": 30, "total": 10**9})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(StoreFullError):
        put(store, "b", 91)
    put(store, "b", 90)
    assert entries(tmp_path) == {"b"}


def test_bytes_of_an_entry_being_written_are_reserved(tmp_path):
    store = Store(tmp_path, limit=100)

    def write(folder):
        with pytest.raises(StoreFullError):
            put(store, "other", 50)
        put(store, "small", 40)
        (folder / "file").write_bytes(b"x" * 60)

    store.read("key", write, content_of, 60)
    assert entries(tmp_path) == {"key", "small"}


def test_other_files_in_the_folder_are_neither_counted_nor_removed(tmp_path):
    for name in ("photos", ".x.partial", f".x.{'0' * 31}.5.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 1000)
    store = Store(tmp_path, limit=100)
    put(store, "a", 60)
    put(store, "b", 60)
    assert entries(tmp_path) == {"photos", "b"}
    assert len(litter(tmp_path)) == 2


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5t", 1500 * 10**9), (" 800 MB ", 8 * 10**8), ("4096", 4096), ("1K", 1000)],
)
def test_valid_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "1 GiB", "nan"])
def test_invalid_sizes_are_refused(text):
    with pytest.raises(UserError, match="a cache size must be a positive number"):
        parse_size(text)


def test_the_limit_is_an_argument_a_variable_or_a_fifth_of_the_disk(monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"total": 1000, "free": 900}))
    monkeypatch.delenv("TUNE_RUN_CACHE_SIZE", raising=False)
    assert Store(tmp_path).limit == 200
    monkeypatch.setenv("TUNE_RUN_CACHE_SIZE", "5K")
    assert Store(tmp_path).limit == 5000
    assert Store(tmp_path, limit=7).limit == 7
