"""Credentials within URIs: found, and taken out of whatever is shown, logged or stored."""

import re

# A text that is one URI, or an option with one: there a password may hold anything, also quotes and spaces.
_URI = re.compile(r"(?:--?[\w\-]+=)?[a-z][\w+.\-]*://(?!.*\s[\w+.\-]+://).*", re.IGNORECASE)
_SECRET = "passw|pwd|secret|token|credential|signature|api_?key|access_?key"


def _user(end: str) -> re.Pattern[str]:
    """All before the host of ``//user:password@host``: up to the last ``@``, for a password may hold one, or a /."""
    return re.compile(rf"//(?:[^:/@{end}]*:[^{end}]*|[^/{end}]*)@")


def _query(value: str) -> re.Pattern[str]:
    return re.compile(rf"([?&;](?:[\w.\-]*(?:{_SECRET})[\w.\-]*|sig)=){value}", re.IGNORECASE)


_WHOLE = _user(r"\n"), _query(r"[^&\n]*")
# Within a text a URI ends at a space; the marks before it are the text's.
_WITHIN = _user(r"\s"), _query(r"[^&\s]*?(?=['\")\]},;.]*(?:[&\s]|$))")


def without_credentials(text: str) -> str:
    """A URI, or a text with URIs in it, as it may be shown and stored: without users, passwords, keys and tokens.

    Where it cannot be told what is password and what is path, as in ``http://host:80/a@b``, it goes. Of a password with
    spaces this is true only where ``text`` is nothing but one URI, or ``--option=URI``: clean arguments one by one.
    """
    user, query = _WHOLE if _URI.fullmatch(text) else _WITHIN
    return query.sub(r"\1***", user.sub("//", text))


def has_credentials(uri: str) -> bool:
    """Whether a URI holds a password or a key; a mere ``name@``, as of Azure's containers, is none."""
    of_user, of_query = _WHOLE
    user = of_user.search(uri)
    return bool(of_query.search(uri) or (user and ":" in user[0]))
