"""Reasons why a download failed, each with its remedy."""

import errno
import json
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from trainables.core.errors import UserError, describe, first_line
from trainables.core.redact import without_credentials

TIMEOUT_S = 10.0


class HubError(UserError):
    """A file can neither be downloaded nor read from the local cache."""


class ForeignAnswerError(Exception):
    """Something else answered in place of the server, such as a network's sign-in page."""


class TruncatedError(Exception):
    """A downloaded file does not have the digest in its name."""


def explain(error: BaseException, wanted: str, server: str) -> str:
    """Return one line with the reason why a download failed, and the remedy.

    Args:
        error: Error of ``huggingface_hub``, ``urllib`` or the operating system; its causes are searched as well.
        wanted: Repository or file, for the message.
        server: Address that was asked.
    """
    causes = list(_causes(error))
    for reason in (_refusal, _wrong_answer, _no_connection, _local_problem):
        if (line := reason(causes, wanted, server)) is not None:
            return line
    return f"{wanted} could not be downloaded from {server} ({describe(error)})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes. urllib puts the cause into ``reason``."""
    while error is not None:
        yield error
        inner = getattr(error, "reason", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _refusal(causes: list[BaseException], wanted: str, server: str) -> str | None:
    """Explain an answer that is an error of the hub's own, or one that was never asked for."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    login = "set HF_TOKEN or run `hf auth login`"
    token = "the access token in use does not permit it" if get_token() else login
    status = next((code for code in map(_status, causes) if code is not None), None)
    if _has(causes, OfflineModeIsEnabled):
        return f"{wanted} is not in the cache, and HF_HUB_OFFLINE forbids to ask {server}: unset it, or fill HF_HOME"
    if _has(causes, GatedRepoError):
        account = " with the account of the access token in use" if get_token() else f", and then {login}"
        return f"{wanted} is gated: accept its terms on {server}{account}"
    if _has(causes, RepositoryNotFoundError):
        return f"{server} has no {wanted}, or it is private: check the name; for a private one, {token}"
    if status in (401, 403):
        return f"{server} refused access to {wanted} with status {status}: {token}"
    if status == 429:
        return f"{server} received too many requests (status 429): try again later, or {token}"
    if status is not None and status >= 500:
        return f"{server} has a server error (status {status}): try again later"
    if any(isinstance(cause, EntryNotFoundError) and _status(cause) for cause in causes):
        return f"{server} has {wanted}, but not its file"
    if status == 404:
        return f"{server} does not know {wanted} (status 404): check the name and HF_ENDPOINT"
    return None


def _wrong_answer(causes: list[BaseException], wanted: str, server: str) -> str | None:
    """Explain an answer that is not the hub's, or that ended early."""
    from huggingface_hub.errors import FileMetadataError

    if _has(causes, json.JSONDecodeError, FileMetadataError, ForeignAnswerError):
        remedy = "sign in to the network in a browser, or correct HF_ENDPOINT"
        return f"what answers as {server} is not that server, but perhaps a network's sign-in page: {remedy}"
    texts = " ".join(map(str, causes))
    if _has(causes, TruncatedError) or "Consistency check failed" in texts or "complete message body" in texts:
        return f"the download of {wanted} from {server} was truncated: try again"
    return None


def _no_connection(causes: list[BaseException], wanted: str, server: str) -> str | None:  # noqa: ARG001
    """Explain why no connection came about."""
    if _has(causes, ssl.SSLCertVerificationError):
        remedy = "if a proxy inspects traffic, set SSL_CERT_FILE to your organisation's certificates"
        return f"the certificate of {server} is not trusted: {remedy}"
    proxy = _proxy_of(server)
    if proxy and (line := _proxy_failure(causes, proxy, server)) is not None:
        return line
    if any(type(cause).__name__ in ("InvalidURL", "UnsupportedProtocol") for cause in causes):
        return f"the address of the hub must be like https://huggingface.co, but is {server}: correct HF_ENDPOINT"
    if _has(causes, socket.gaierror):
        return f"the name of {server} cannot be resolved: check the network, or set HTTPS_PROXY or HF_ENDPOINT"
    verb = "correct" if proxy else "set"
    remedy = f"{verb} HTTPS_PROXY, set HF_ENDPOINT to a mirror, or set HF_HUB_OFFLINE=1 to use only the cache"
    if _has(causes, TimeoutError):
        return (
            f"{server} did not answer within {TIMEOUT_S:.0f} s{f' through the proxy {proxy}' * bool(proxy)}: {remedy}"
        )
    names = {type(cause).__name__ for cause in causes}
    if _has(causes, ConnectionResetError, BrokenPipeError) or names & {"ReadError", "RemoteProtocolError"}:
        return (
            f"the connection to {server} broke off ({describe(causes[-1])}): try again; if it happens again, {remedy}"
        )
    if _is_unreachable(causes):
        return f"{server} cannot be reached ({describe(causes[-1])}): {remedy}"
    return None


def _proxy_of(server: str) -> str:
    """Return the address of the proxy that the environment sets for a server, without credentials, or ""."""
    parts, proxies = urlsplit(server), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    return "" if proxy_bypass(parts.hostname or "") else without_credentials(proxy)


def _proxy_failure(causes: list[BaseException], proxy: str, server: str) -> str | None:
    """Explain a failure of the proxy. Nothing else is resolved or connected to if there is one."""
    variable = f"{urlsplit(server).scheme.upper()}_PROXY"
    refusal = next((cause for cause in causes if _is_proxy_refusal(cause)), None)
    if refusal is not None and ("407" in str(refusal) or _status(refusal) == 407):
        return f"the proxy {proxy} asks for a login: write user:password@ before its host in {variable}"
    remedy = f"correct {variable} or NO_PROXY"
    if refusal is not None:
        return f"the proxy {proxy} refuses a connection to {server} ({first_line(refusal)}): {remedy}"
    if _has(causes, socket.gaierror):
        return f"the name of the proxy {proxy} cannot be resolved: {remedy}"
    if _has(causes, ConnectionRefusedError) or (_is_unreachable(causes) and not _has(causes, ConnectionResetError)):
        return f"the proxy {proxy} cannot be reached ({describe(causes[-1])}): {remedy}"
    return None


def _is_unreachable(causes: list[BaseException]) -> bool:
    numbers = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
    return _has(causes, ConnectionError) or any(getattr(cause, "errno", 0) in numbers for cause in causes)


def _local_problem(causes: list[BaseException], wanted: str, server: str) -> str | None:  # noqa: ARG001
    """Explain an error of this machine's disk."""
    for cause in causes:
        number = getattr(cause, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk is too full for {wanted}: free space, or set HF_HOME or TORCH_HOME to another disk"
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"the cache for {wanted} is not writable ({cause}): set HF_HOME or TORCH_HOME to a writable folder"
    return None


def _has(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error of urllib (``code``) or of the hub's client (``response``)."""
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is_proxy_refusal(error: BaseException) -> bool:
    is_refusal = type(error).__name__ == "ProxyError" or "Tunnel connection failed" in str(error)
    return is_refusal or _status(error) == 407
