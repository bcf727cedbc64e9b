"""Hosts on one machine: each sees its own processes, network, home and /tmp, and the same files otherwise.

They are Linux namespaces (``unshare``), joined by a bridge that belongs to the first. Nothing outside them is touched,
and killing a host's first process ends all that runs there.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOME, SHARED = "/mnt/home", "/mnt/shared"
USER = "tune-run"
_TOOLS = ("unshare", "nsenter", "ip", "ssh", "ssh-keygen", "rsync", "/usr/sbin/sshd")
_NAMESPACES = ("--net", "--pid", "--mount", "--uts", "--ipc")

# A host's own is what is below /mnt, /run, /tmp and /dev/shm: the rest, like the virtual environment, is seen by all.
_FURNISH = f"""
set -e
mount -t tmpfs tmpfs /mnt && mkdir -p {SHARED} {HOME}/.ssh && mount --bind "$1" {SHARED}
mount -t tmpfs tmpfs /run && mkdir /run/sshd
(echo {USER}:x:0:0::{HOME}:/bin/bash && cat /etc/passwd) >/mnt/passwd
mount --bind /mnt/passwd /etc/passwd
cp "$2" {HOME}/.ssh/tune-run && cp "$2.pub" {HOME}/.ssh/authorized_keys
for folder in /tmp /dev/shm; do mount -t tmpfs tmpfs $folder; done
hostname "$3" && ip link set lo up
/usr/sbin/sshd -D -f /dev/null -h {HOME}/.ssh/tune-run -o StrictModes=no -o PidFile=none &
touch /run/furnished
wait
"""


def missing() -> str | None:
    """Why there can be no hosts here, or None."""
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"hosts need {', '.join(absent)} (Debian: openssh-server, iproute2, rsync)"
    tried = subprocess.run(["unshare", *_NAMESPACES, "--fork", "true"], capture_output=True, text=True)
    if tried.returncode:
        return f"namespaces cannot be made here: {tried.stderr.strip()}"
    hidden = [path for path in (sys.prefix, sys.base_prefix) if path.startswith(("/tmp", "/mnt", "/run"))]
    return f"hosts would not see {hidden[0]}" if hidden else None


class Host:
    """A host; ``address`` is that of its one network card."""

    def __init__(self, name: str, number: int, shared: Path, key: Path, switch: "Host | None" = None):
        self.address = f"10.77.0.{number}"
        furnish = ["bash", "-c", _FURNISH, "bash", shared, key, name]
        self._process = subprocess.Popen(["unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc", *furnish])
        self._first = self._wait_for_first()
        self._wire(switch, name)

    def _wait_for_first(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while self._process.poll() is None:
            first = children.read_text().split()
            if first and Path(f"/proc/{first[0]}/root/run/furnished").exists():
                return int(first[0])
            time.sleep(0.05)
        raise RuntimeError("a host ended while it was furnished")

    def _wire(self, switch: "Host | None", name: str) -> None:
        """Gives it a card; the first host's is the bridge itself."""
        if switch is None:
            self._ip("link add eth0 type bridge")
        else:
            switch._ip(f"link add {name} type veth peer name eth0 netns {self._first}")
            switch._ip(f"link set {name} master eth0 up")
        self._ip(f"addr add {self.address}/24 dev eth0")
        self._ip("link set eth0 up")
        self._ip("route add default dev eth0")  # by which Ray finds its own address; nothing is behind it

    def _ip(self, command: str) -> None:
        subprocess.run(["nsenter", f"--net=/proc/{self._first}/ns/net", "ip", *command.split()], check=True)

    def path(self, inside: str) -> Path:
        """Where a file of the host's is seen from outside."""
        return Path(f"/proc/{self._first}/root{inside}")

    def cut_off(self) -> None:
        """Pulls its cable."""
        self._ip("link set eth0 down")

    def command(self, *arguments: object) -> list[str]:
        """What runs a command there, in the checkout."""
        cut = {"HOME": HOME, "USER": USER, "LOGNAME": USER, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        cut |= {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        cut |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        enter = ["nsenter", f"--target={self._first}", "--net", "--pid", "--mount", "--uts", "--ipc"]
        enter.append(f"--wd={Path.cwd()}")
        return [*enter, "env", "-i", *(f"{name}={value}" for name, value in cut.items()), *map(str, arguments)]

    def run(self, *arguments: object, check: bool = True, timeout: float = 300) -> str:
        """Runs a command there to its end; returns what it printed."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        if check and done.returncode:
            pytest.fail(f"{shlex.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def start(self, *arguments: object) -> "subprocess.Popen[bytes]":
        """Starts a command there that goes on until its standard input is closed, or it is killed."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self.command(*arguments), stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)

    def processes(self) -> list[str]:
        """The command lines there."""
        return self.run("ps", "-eo", "args", "--no-headers").splitlines()

    def end(self) -> None:
        """Ends all that runs there."""
        self._process.kill()
        self._process.wait()
