import pytest

from trainables.core.credentials import has_credentials, without_credentials
from trainables.core.errors import describe

SHOWN = {
    "http://me:secret@server:5000/x": "http://server:5000/x",
    "https://secret@server/x": "https://server/x",
    "postgresql://me:se/cr@et@server:5432/db": "postgresql://server:5432/db",
    "postgresql://server/db?user=me&password=secret&connect_timeout=3": "postgresql://server/db?user=me&password=***&connect_timeout=3",
    "s3://KEY:sec/ret+@bucket/a?region=eu": "s3://bucket/a?region=eu",
    "s3://bucket/a?access_key=secret&secret_key=secret": "s3://bucket/a?access_key=***&secret_key=***",
    "https://server/x?X-Amz-Signature=secret&sig=secret": "https://server/x?X-Amz-Signature=***&sig=***",
    "tune-run --tracking-uri='http://me:secret@a' --storage s3://b": "tune-run --tracking-uri='http://a' --storage s3://b",
    "http://me:secret@a and http://me:secret@b": "http://a and http://b",
}  # fmt: skip
PLAIN = [
    "sqlite:////data/mlflow.db", "sqlite:////data/me@home/mlflow.db", "s3://bucket/a@b", "http://server:5000/a@b",
    "models:/brains@champion", "http://server/?design=1", "two words, me@home",
]  # fmt: skip


@pytest.mark.parametrize("text", SHOWN)
def test_credentials_are_taken_out(text):
    assert without_credentials(text) == SHOWN[text]
    assert without_credentials(SHOWN[text]) == SHOWN[text]


@pytest.mark.parametrize("text", PLAIN)
def test_what_holds_none_is_left_alone(text):
    assert without_credentials(text) == text
    assert not has_credentials(text)


def test_a_container_of_azure_is_no_password():
    assert not has_credentials("abfss://container@account.dfs.core.windows.net/searches")
    assert has_credentials("s3://KEY:secret@bucket/searches")
    assert has_credentials("s3://bucket/searches?secret_key=secret")


def test_the_line_of_an_error_holds_none():
    assert (
        describe(ValueError("Invalid URL 'http://me:secret@server'\nand more"))
        == "ValueError: Invalid URL 'http://server'"
    )
