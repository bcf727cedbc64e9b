import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.core.errors import describe
from trainables.core.redact import has_credentials, without_credentials

CLEANED = {
    "http://me:secret@server:5000/x": "http://server:5000/x",
    "https://secret@server/x": "https://server/x",
    "postgresql://me:se/cr@et@server:5432/db": "postgresql://server:5432/db",
    "postgresql://me:it's@host/db": "postgresql://host/db",
    "postgresql://me:a b@host/db": "postgresql://host/db",
    "--tracking-uri=http://me:a b@host/db": "--tracking-uri=http://host/db",
    "http://me:12/ab@host/db": "http://host/db",
    "postgresql://server/db?user=me&password=secret&connect_timeout=3": "postgresql://server/db?user=me&password=***&connect_timeout=3",
    "postgresql://server/db?password=it's a&user=me": "postgresql://server/db?password=***&user=me",
    "s3://KEY:sec/ret+@bucket/a?region=eu": "s3://bucket/a?region=eu",
    "s3://bucket/a?access_key=secret&secret_key=secret": "s3://bucket/a?access_key=***&secret_key=***",
    "https://server/x?X-Amz-Signature=secret&sig=secret": "https://server/x?X-Amz-Signature=***&sig=***",
    "tune-run --tracking-uri='http://me:secret@a' --storage s3://b": "tune-run --tracking-uri='http://a' --storage s3://b",
    "tune-run --data='http://a?token=it's' --storage s3://b": "tune-run --data='http://a?token=***' --storage s3://b",
    "http://me:secret@a and http://me:secret@b": "http://a and http://b",
}  # fmt: skip
PLAIN = [
    "sqlite:////data/mlflow.db", "sqlite:////data/me@home/mlflow.db", "s3://bucket/a@b", "http://server:5000/a",
    "models:/brains@champion", "http://server/?design=1", "two words, me@home",
]  # fmt: skip
SIGNS = st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("C", "Z"))
URIS = ["http://me:{}@host/db", "postgresql+psycopg://me:{}@host:5432/db", "s3://key:{}@bucket/a?region=eu"]


@pytest.mark.parametrize("text", CLEANED)
def test_credentials_are_removed(text):
    assert without_credentials(text) == CLEANED[text]
    assert without_credentials(CLEANED[text]) == CLEANED[text]


@pytest.mark.parametrize("uri", URIS)
@given(password=st.text(SIGNS))
def test_any_password_without_spaces_is_removed_within_text(uri, password):
    cleaned = without_credentials(f"no answer from {uri.format(password)} today")
    assert cleaned == f"no answer from {re.sub('//.*@', '//', uri)} today"


@pytest.mark.parametrize("option", ["", "--study-storage="])
@pytest.mark.parametrize("uri", URIS)
@given(password=st.text(SIGNS | st.just(" ")).filter(lambda text: "://" not in text))
def test_a_password_with_spaces_is_removed_from_an_argument(uri, option, password):
    assert has_credentials(uri.format(password))
    assert without_credentials(option + uri.format(password)) == option + re.sub("//.*@", "//", uri)


@given(password=st.text(SIGNS | st.just(" ")).filter(lambda text: "&" not in text and "://" not in text))
def test_any_password_in_a_query_is_removed(password):
    cleaned = without_credentials(f"postgresql://host/db?password={password}&user=me")
    assert cleaned == "postgresql://host/db?password=***&user=me"


@pytest.mark.parametrize("text", PLAIN)
def test_text_without_credentials_is_unchanged(text):
    assert without_credentials(text) == text
    assert not has_credentials(text)


def test_within_text_a_uri_ends_at_a_space():
    assert without_credentials("at http://server:5000, me@home") == "at http://server:5000, me@home"


@pytest.mark.parametrize(
    "uri",
    [
        *("abfss://container@account.dfs.core.windows.net/searches", "abfs://container@account/a@b"),
        *("hdfs://alice@namenode:8020/scans", "gs://anonymous@bucket/scans"),
    ],
)
def test_a_container_or_an_account_is_not_a_password(uri):
    for text in (uri, f"--data={uri}", f"{uri} is not readable"):
        assert without_credentials(text) == text
    assert not has_credentials(uri)
    assert has_credentials(uri.replace("@", ":secret@", 1))


def test_an_address_has_the_credentials_that_are_removed():
    assert has_credentials("https://token@server/x")
    assert has_credentials("s3://KEY:secret@bucket/searches")
    assert has_credentials("s3://k:it's@b")
    assert has_credentials("s3://bucket/searches?secret_key=secret")


def test_the_line_of_an_error_has_no_credentials():
    assert (
        describe(ValueError("Invalid URL 'http://me:secret@server'\nand more"))
        == "ValueError: Invalid URL 'http://server'"
    )
