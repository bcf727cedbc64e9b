"""Removal of credentials from text that is shown, logged or stored."""

import re

# Text that is exactly one URI, or an option with one. Its password may contain anything, even quotes and spaces.
_URI = re.compile(r"(?:--?[\w\-]+=)?[a-z][\w+.\-]*://(?!.*\s[\w+.\-]+://).*", re.IGNORECASE)
# In these schemes, a name without a password before the host is part of the place: a container, or an account.
_PLACES = "".join(rf"(?<!{scheme}:)" for scheme in ("abfs", "abfss", "hdfs", "gs", "gcs"))
_SECRET = "passw|pwd|secret|token|credential|signature|api_?key|access_?key"


def _user(end: str) -> re.Pattern[str]:
    """Match everything before the host of ``//user:password@host``.

    It ends at the last ``@``, because passwords may contain ``@`` or ``/``.
    """
    return re.compile(rf"//[^:/@{end}]*:[^{end}]*@|{_PLACES}//[^/{end}]*@")


def _query(value: str) -> re.Pattern[str]:
    return re.compile(rf"([?&;](?:[\w.\-]*(?:{_SECRET})[\w.\-]*|sig)=){value}", re.IGNORECASE)


_WHOLE = _user(r"\n"), _query(r"[^&\n]*")
# Inside longer text a URI ends at a space. Punctuation before that space belongs to the text.
_WITHIN = _user(r"\s"), _query(r"[^&\s]*?(?=['\")\]},;.]*(?:[&\s]|$))")


def without_credentials(text: str) -> str:
    """Return text with users, passwords, keys and tokens removed from every URI in it.

    A name without a password stays in the URI of a file system that needs it, such as ``abfss://container@account``.
    If password and path cannot be distinguished, as in ``http://host:80/a@b``, both are removed. A password with spaces
    is only recognised if ``text`` is exactly one URI or ``--option=URI``, so clean command-line arguments one by one.
    """
    user, query = _WHOLE if _URI.fullmatch(text) else _WITHIN
    return query.sub(r"\1***", user.sub("//", text))


def has_credentials(uri: str) -> bool:
    """Return True if a URI contains what ``without_credentials`` removes."""
    return without_credentials(uri) != uri
