"""Pseudonyms of patients: keyed hashes of their identifiers, which lead back to nobody without the key.

Without a key, everyone who has a pseudonym could hash all identifiers of a hospital, often just numbers, and compare.
"""

import hmac
import os
import secrets
from functools import cache
from pathlib import Path

from trainables.core.errors import DataError

KEY_VARIABLE = "TUNE_RUN_PATIENT_KEY"  # names a file: values of variables are inherited, logged and listed
_SHORTEST = 32  # bytes
_DIGITS = 16  # 64 bits: among 100,000 patients, two share a pseudonym with a probability of 3e-10
_ADVICE = f"{KEY_VARIABLE} must be a file with a secret key of at least {_SHORTEST} characters"


def pseudonym(patient: str) -> str:
    """Return the pseudonym of a patient, equal for equal identifiers under one key: HMAC-SHA256 (RFC 2104) in hex.

    It begins with a letter, so that no spreadsheet takes it for a number.

    Raises:
        DataError: The file of the key cannot be used.
    """
    key, identifier = _key(os.environ.get(KEY_VARIABLE)), patient.encode(errors="backslashreplace")
    return f"p{hmac.digest(key, identifier, 'sha256').hex()[:_DIGITS]}"


def has_lasting_key() -> bool:
    """Return True if the user set a key. Otherwise a random one gives each run other pseudonyms."""
    return bool(os.environ.get(KEY_VARIABLE))


@cache
def _key(name: str | None) -> bytes:
    """Return the key in the user's file or, without one, a random key that ends with this process."""
    if not name:
        return secrets.token_bytes(_SHORTEST)
    file = Path(name).expanduser()
    try:
        readable_by_others, key = file.stat().st_mode & 0o077, file.read_bytes().strip()
    except OSError as error:
        remedy = f"(umask 077; openssl rand -hex 32 > {file})"
        raise DataError(f"{_ADVICE}, but {file} cannot be read: {error.strerror}; make one: {remedy}") from None
    if readable_by_others:
        raise DataError(f"{_ADVICE}, but others may read {file}: chmod 600 {file}")
    if len(key) < _SHORTEST:
        raise DataError(f"{_ADVICE}, but {file} has {len(key)}: make a longer one, as with openssl rand -hex 32")
    return key
