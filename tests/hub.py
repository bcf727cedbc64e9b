"""A small stand-in of the Hugging Face hub on this machine, which counts questions and answers wrongly on demand."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

DATASET = "owner/brains"
_REFUSALS = {
    "gated": (401, "GatedRepo"),
    "private": (401, "RepoNotFound"),
    "missing": (404, "RepoNotFound"),
    "no file": (404, "EntryNotFound"),
    "forbidden": (403, ""),
    "login": (407, ""),
    "busy": (429, ""),
    "server error": (503, ""),
}


class StandIn(ThreadingHTTPServer):
    """Serves ``root/{datasets,models}/OWNER/NAME/...`` as the hub does, and ``root/files/...`` as plain files.

    Attributes:
        root: Folder of the repositories, read at every request.
        asked: Method and path of every request.
        fault: Name of the fault of all answers whose method and path match ``faulty``, or None: one of ``_REFUSALS``,
            ``portal``, ``reset``, ``hang``, ``cut`` (half a file), ``zeros`` (a file of zeros).
    """

    daemon_threads = True

    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.asked = root, list[str]()
        self.fault: str | None = None
        self.ended = threading.Event()
        self.faulty = ""
        self.address = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Print nothing if a client closes its connection."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_CONNECT(self) -> None:
        self._send(407 if self.server.fault == "login" else 403)

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        fault = self.server.fault if re.search(self.server.faulty, f"{self.command} {path}") else None
        if fault in _REFUSALS:
            status, code = _REFUSALS[fault]
            self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": fault} if code else {})
        elif fault == "portal":
            self._send(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
        elif fault in ("reset", "hang"):
            self.server.ended.wait(60 if fault == "hang" else 0)
            self.close_connection = True
        elif found := re.fullmatch(r"/api/(datasets|models)/(\w+/[\w.\-]+)(/revision/.+|/tree/.+)?", path):
            self._describe(self.server.root / found[1] / found[2], is_tree="/tree/" in path)
        elif found := re.fullmatch(r"/(datasets/)?(\w+/[\w.\-]+)/resolve/[^/]+/(.+)", path):
            repository = self.server.root / (found[1] or "models") / found[2]
            self._send_file(repository / found[3], fault, _commit(repository))
        else:
            self._send_file(self.server.root / path.removeprefix("/"), fault, "")

    def _describe(self, repository: Path, *, is_tree: bool) -> None:
        files = {str(file.relative_to(repository)): file.read_bytes() for file in _files(repository)}
        if not files:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        entries = [
            {
                "type": "file",
                "path": name,
                "size": len(content),
                "oid": "0" * 40,
                "lfs": {"oid": _sha256(content), "size": len(content), "pointerSize": 1},
            }
            for name, content in files.items()
        ]
        info = {"id": f"{repository.parent.name}/{repository.name}", "sha": _commit(repository)}
        self._send(200, json.dumps(entries if is_tree else info).encode(), {"Content-Type": "application/json"})

    def _send_file(self, file: Path, fault: str | None, commit: str) -> None:
        if not file.is_file():
            self._send(
                404, b"", {"X-Error-Code": "EntryNotFound" if commit else "RepoNotFound", "X-Repo-Commit": commit}
            )
            return
        content = file.read_bytes()
        digest = _sha256(content)
        body = bytes(len(content)) if fault == "zeros" else content
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit, "Content-Type": "application/octet-stream"}
        self._send(200, body, headers, sent=len(body) // 2 if fault == "cut" else None)

    def _send(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, sent: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True


def _files(repository: Path) -> list[Path]:
    return sorted(file for file in repository.rglob("*") if file.is_file())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _commit(repository: Path) -> str:
    """Return the digest of all files; empty if there is no such repository."""
    files = _files(repository)
    return _sha256(b"".join(file.read_bytes() for file in files))[:40] if files else ""


def write_dataset(root: Path, images: dict[str, list[bytes]], name: str = DATASET, rows: int | None = None) -> Path:
    """Write a data set of two classes in turn, in the hub's layout, and return its folder.

    Args:
        root: Folder of the stand-in's repositories.
        images: Encoded images of each split.
        name: Name of the data set.
        rows: Number of rows of each split that the README states; None for the true one.
    """
    folder = root / "datasets" / name
    (folder / "data").mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, encoded in images.items():
        column = pa.array([{"bytes": content, "path": None} for content in encoded], kind)
        table = pa.table({"image": column, "label": pa.array([index % 2 for index in range(len(encoded))], pa.int64())})
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    splits = "".join(
        f"  - name: {split}\n    num_bytes: 1\n    num_examples: {len(encoded) if rows is None else rows}\n"
        for split, encoded in images.items()
    )
    (folder / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        f"      class_label:\n        names:\n          '0': healthy\n          '1': ill\n  splits:\n{splits}---\n"
    )
    return folder
