"""Data sets at a ``file://`` URI and in S3, which moto simulates."""

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.images import write_classes
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.object_store import local_copy
from trainables.core.data.readers.open_source import open_source
from trainables.core.errors import DataError
from trainables.core.node_cache import Store, StoreFullError


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def images(tmp_path):
    return write_classes(tmp_path / "images", {"few": 8, "many": 16})


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "none")
        yield "{}:{}".format(*server.get_host_and_port())
    server.stop()


def test_a_uri_is_copied_once(images, store):
    copy = local_copy(images.as_uri(), Store(store))
    assert local_copy(images.as_uri(), Store(store)) == copy
    assert len(list(store.glob("copy-*"))) == 1
    local, remote = open_source(str(images)), open_source(images.as_uri())
    assert local.read_all()[1] == remote.read_all()[1]
    assert local.class_names == remote.class_names
    assert (local.labels == remote.labels).all()


def test_changed_data_are_copied_again(images, store):
    local_copy(images.as_uri(), Store(store))
    next((images / "few").iterdir()).unlink()
    assert len(open_source(images.as_uri())) == 23
    assert len(list(store.glob("copy-*"))) == 2


def test_a_bucket_is_a_data_set(images, s3, tmp_path, store):
    client = boto3.client("s3", endpoint_url=f"http://{s3}", region_name="us-east-1")
    client.create_bucket(Bucket="scans")
    for file in images.rglob("*.*"):
        client.upload_file(str(file), "scans", f"study/{file.relative_to(images)}")
    place = f"s3://scans/study?endpoint_override={s3}&scheme=http&region=us-east-1"
    remote = prepare(place, sizes=[32], seed=0, store=tmp_path / "theirs")
    local = prepare(str(images), sizes=[32], seed=0, store=tmp_path / "ours")
    assert list((tmp_path / "theirs").glob("copy-*")) and not store.exists()
    assert remote.fingerprint == local.fingerprint
    assert (remote.images(32) == local.images(32)).all()


def test_a_copy_above_the_limit_is_refused(images, tmp_path):
    with pytest.raises(StoreFullError, match="--cache-size"):
        prepare(images.as_uri(), sizes=[32], seed=0, store=tmp_path / "small", cache_size=1000)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file:///nowhere/at/all", "the data set must be readable, but file:///nowhere/at/all is not"),
        ("carrier-pigeon://images", "the data set must be readable, but carrier-pigeon://images is not"),
        ("s3://AKIA:secret@bucket/images", "must not contain credentials: set them in the environment"),
    ],
)
def test_an_unreadable_uri_is_refused_in_one_line(uri, message):
    with pytest.raises(DataError, match=message) as refused:
        open_source(uri)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_signs_that_would_cut_a_uri_are_refused(images, store):
    write_classes(images.parent / "images#1", {"few": 4, "many": 4})
    with pytest.raises(DataError, match="must not contain #, but is .*: write %23 instead"):
        open_source(f"{images.as_uri()}#1")
    assert len(open_source(f"{images.as_uri()}%231")) == 8
    with pytest.raises(DataError, match=r"must not contain \?, but is .*: write %3F instead"):
        open_source(f"{images.as_uri()}?1")


def test_a_blank_in_a_uri_is_refused_with_the_remedy(images):
    with pytest.raises(DataError, match="Cannot parse URI.*: write signs other than .*, such as %20 for a blank"):
        open_source(f"{images.as_uri()} 2")
