"""No command opens a connection to another machine unless its data, weights or servers are there.

Python's audit hooks see every connection and every name look-up of Python code, also in Ray's workers. Connections of
compiled code are not seen; ``test_ports.py`` looks at Ray's.
"""

import os
import subprocess
import sys

import pytest

from tests.searches import SMALL, command, environment

# Ray's own process asks once which cloud it runs in, also with RAY_USAGE_STATS_ENABLED=0, which only keeps the answer
# here. Ray 2.60 has no setting for it. These addresses exist within a cloud only.
CLOUD_METADATA = {"169.254.169.254", "metadata.google.internal"}
WATCH = """
import os, socket, sys

_local = ("", "localhost", "0.0.0.0", "::", "::1", socket.gethostname())

def watch(event, args):
    if event == "socket.connect" and args[0].family != socket.AF_UNIX and args[0].type & socket.SOCK_STREAM:
        host = args[1][0]  # a datagram socket sends nothing when it connects
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host or "")
    if host not in _local and not host.removeprefix("::ffff:").startswith("127."):
        with open(os.environ["OUTWARD"], "a") as file:
            file.write(f"{event} {host} by {sys.argv}\\n")

sys.addaudithook(watch)
"""


@pytest.fixture
def watched(folder):
    """A function that runs a program, and a file with the connections of all programs."""
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    usual, seen = environment(folder), folder / "outward"
    seen.touch()
    path = os.pathsep.join([str(folder / "watch"), usual["PYTHONPATH"]])

    def run(words):
        done = subprocess.run(
            list(map(str, words)), cwd=folder, env=usual | {"OUTWARD": str(seen), "PYTHONPATH": path},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    return run, seen


def test_a_connection_to_another_machine_is_seen(watched):
    run, seen = watched
    connect = "import socket; socket.socket().connect_ex(('127.0.0.1', 9)); s = socket.socket(); s.setblocking(False); "
    run([sys.executable, "-c", f"{connect}s.connect_ex(('192.0.2.1', 9))"])
    assert [line.split(" by ")[0] for line in seen.read_text().splitlines()] == ["socket.connect 192.0.2.1"]


@pytest.mark.e2e
def test_no_command_calls_out(watched, folder):
    """Takes a minute: a whole search, and every other command on its results."""
    run, seen = watched
    for module, *arguments in (
        ("run", "--list"),
        ("run", "alzheimer_space", "--dry-run", 2, "--weights", "random"),
        ("audit", "data"),
        ("new", "data", "--out", "own_space.py"),
        ("run", "demo_space", "--data", "data", *SMALL, "--num-samples", 2, "--report"),
        ("ensemble", "demo_space", "--members", "0,1", "--open-test", "--register"),
        ("report", "demo_space"),
        ("predict", "models:/demo_space@champion", "data/few", "--out", "predictions.csv"),
    ):
        run(command(*arguments, module=f"tuning.cli.{module}"))
    lines = [line for line in seen.read_text().splitlines() if "ray/dashboard/dashboard.py" not in line]
    assert lines == []
    asked = {line.split()[1] for line in seen.read_text().splitlines()}
    assert asked <= CLOUD_METADATA
