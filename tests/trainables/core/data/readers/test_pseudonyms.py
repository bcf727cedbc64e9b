import hashlib
import hmac
import subprocess
import sys

import pytest

from trainables.core.data.readers.pseudonyms import KEY_VARIABLE, has_lasting_key, pseudonym
from trainables.core.errors import DataError

KEY = "a key of thirty-two characters, " * 2


@pytest.fixture
def key_file(tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    monkeypatch.setenv(KEY_VARIABLE, str(file))
    return file


def test_a_pseudonym_is_the_hmac_of_the_identifier(key_file):
    expected = hmac.new(KEY.strip().encode(), "Müller^J".encode(), hashlib.sha256).hexdigest()
    assert pseudonym("Müller^J") == f"p{expected[:16]}"
    assert has_lasting_key()
    key_file.write_bytes(KEY.encode() + b"\r\n")  # an editor on another machine added the end of a line
    assert in_another_process("Müller^J") == f"p{expected[:16]}"


def test_lone_surrogates_are_hashed(key_file):
    assert pseudonym("\ud800") != pseudonym("\ud801")


def test_without_a_key_each_run_has_pseudonyms_of_its_own(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert not has_lasting_key()
    assert pseudonym("P1") == pseudonym("P1") != pseudonym("P2")
    assert pseudonym("P1") != in_another_process("P1") != in_another_process("P1")


def in_another_process(patient):
    code = "import sys; from trainables.core.data.readers.pseudonyms import pseudonym; print(pseudonym(sys.argv[1]))"
    return subprocess.run([sys.executable, "-c", code, patient], capture_output=True, text=True, check=True).stdout[:-1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), r"key cannot be read: No such file or directory; make one: \(umask 077; openssl"),
        (lambda file: file.chmod(0o640), r"others may read .*key: chmod 600 .*key"),
        (lambda file: file.write_text("hospital\n"), "key has 8: make a longer one"),
    ],
)
def test_a_key_that_protects_nobody_is_refused(key_file, spoil, message):
    spoil(key_file)
    with pytest.raises(DataError, match=message) as error:
        pseudonym("P1")
    assert str(error.value).startswith(f"{KEY_VARIABLE} must be a file with a secret key of at least 32 characters")
    assert "hospital" not in str(error.value) and "\n" not in str(error.value)
