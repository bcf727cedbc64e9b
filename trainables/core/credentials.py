"""Credentials within URIs: found, and taken out of whatever is shown, logged or stored."""

import re

# Of `//user:password@host` the part before the host; a password may hold an `@`, and by mistake a `/`. A port does not.
_USER = re.compile(r"//(?:[^/\s'\"]*|[^:/@\s]*:(?!\d*(?:/|$))[^\s'\"]*)@")
_SECRET = "passw|pwd|secret|token|credential|signature|api_?key|access_?key"
_QUERY = re.compile(rf"([?&;](?:[\w.\-]*(?:{_SECRET})[\w.\-]*|sig)=)[^&;\s'\"]*", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """A URI, or a text with URIs in it, as it may be shown and stored: without users, passwords, keys and tokens."""
    return _QUERY.sub(r"\1***", _USER.sub("//", text))


def has_credentials(uri: str) -> bool:
    """Whether a URI holds a password or a key; a mere ``name@``, as of Azure's containers, is none."""
    user = _USER.search(uri)
    return bool(_QUERY.search(uri) or (user and ":" in user[0]))
