"""Writes each connection to another machine and each look-up of one to the file $OUTWARD, as soon as it is set.

Python imports this file at its start where this folder is on PYTHONPATH: also in Ray's workers, which inherit it.
"""

import os
import socket
import sys
from pathlib import Path

_LOCAL = ("", "localhost", "0.0.0.0", "::", "::1", socket.gethostname())
_seen: list[str] = []


def watch(event: str, args: tuple) -> None:
    if event == "socket.connect" and args[0].family != socket.AF_UNIX and args[0].type & socket.SOCK_STREAM:
        host = args[1][0]  # a datagram socket sends nothing when it connects
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host or "")
    if host not in _LOCAL and not host.removeprefix("::ffff:").startswith("127."):
        _seen.append(f"{event} {host} by {sys.argv}\n")
        write_seen()


def write_seen() -> None:
    if "OUTWARD" in os.environ:
        with Path(os.environ["OUTWARD"]).open("a") as file:
            file.writelines(_seen)
        _seen.clear()


sys.addaudithook(watch)
