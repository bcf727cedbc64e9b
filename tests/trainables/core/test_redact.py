import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.core.errors import describe
from trainables.core.redact import has_credentials, without_credentials

SHOWN = {
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


@pytest.mark.parametrize("text", SHOWN)
def test_credentials_are_taken_out(text):
    assert without_credentials(text) == SHOWN[text]
    assert without_credentials(SHOWN[text]) == SHOWN[text]


@pytest.mark.parametrize("uri", URIS)
@given(password=st.text(SIGNS))
def test_of_what_signs_a_password_may_be_none_is_left(uri, password):
    told = without_credentials(f"no answer from {uri.format(password)} today")
    assert told == f"no answer from {re.sub('//.*@', '//', uri)} today"


@pytest.mark.parametrize("option", ["", "--study-storage="])
@pytest.mark.parametrize("uri", URIS)
@given(password=st.text(SIGNS | st.just(" ")).filter(lambda text: "://" not in text))
def test_in_an_argument_it_may_also_hold_spaces(uri, option, password):
    assert has_credentials(uri.format(password))
    assert without_credentials(option + uri.format(password)) == option + re.sub("//.*@", "//", uri)


@given(password=st.text(SIGNS | st.just(" ")).filter(lambda text: "&" not in text and "://" not in text))
def test_nor_is_any_of_one_in_a_query(password):
    told = without_credentials(f"postgresql://host/db?password={password}&user=me")
    assert told == "postgresql://host/db?password=***&user=me"


@pytest.mark.parametrize("text", PLAIN)
def test_what_holds_none_is_left_alone(text):
    assert without_credentials(text) == text
    assert not has_credentials(text)


def test_within_a_text_an_address_ends_at_a_space():
    assert without_credentials("at http://server:5000, me@home") == "at http://server:5000, me@home"


def test_a_container_of_azure_is_no_password():
    assert not has_credentials("abfss://container@account.dfs.core.windows.net/searches")
    assert has_credentials("s3://KEY:secret@bucket/searches")
    assert has_credentials("s3://k:it's@b")
    assert has_credentials("s3://bucket/searches?secret_key=secret")


def test_the_line_of_an_error_holds_none():
    assert (
        describe(ValueError("Invalid URL 'http://me:secret@server'\nand more"))
        == "ValueError: Invalid URL 'http://server'"
    )
