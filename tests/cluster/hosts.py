"""Simulated hosts on one machine, each with its own processes, network, home and /tmp. They share all other files.

They are Linux namespaces (``unshare``) connected by a bridge that belongs to the first host. Nothing outside them
changes, and killing a host's first process ends everything that runs there.
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

# Private to a host: /mnt, /run, /tmp and /dev/shm. Shared: everything else, such as the virtual environment.
_SET_UP = f"""
set -e
mount -t tmpfs tmpfs /mnt && mkdir -p {SHARED} {HOME}/.ssh && mount --bind "$1" {SHARED}
mount -t tmpfs tmpfs /run && mkdir /run/sshd
(echo {USER}:x:0:0::{HOME}:/bin/bash && cat /etc/passwd) >/mnt/passwd
mount --bind /mnt/passwd /etc/passwd
cp "$2" {HOME}/.ssh/tune-run && cp "$2.pub" {HOME}/.ssh/authorized_keys
for folder in /tmp /dev/shm; do mount -t tmpfs tmpfs $folder; done
hostname "$3" && ip link set lo up
/usr/sbin/sshd -D -f /dev/null -h {HOME}/.ssh/tune-run -o StrictModes=no -o PidFile=none &
touch /run/ready
wait
"""


def missing() -> str | None:
    """Return why hosts cannot be created here, or None."""
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"hosts need {', '.join(absent)} (Debian: openssh-server, iproute2, rsync)"
    attempt = subprocess.run(["unshare", *_NAMESPACES, "--fork", "true"], capture_output=True, text=True)
    if attempt.returncode:
        return f"cannot create namespaces: {attempt.stderr.strip()}"
    hidden = [
        path for path in (sys.prefix, sys.base_prefix, str(Path.cwd())) if path.startswith(("/tmp", "/mnt", "/run"))
    ]
    return f"hosts would not see {hidden[0]}" if hidden else None


class Host:
    """A host with one network card, which has ``address``."""

    def __init__(self, name: str, number: int, shared: Path, key: Path, switch: "Host | None" = None):
        self.address = f"10.77.0.{number}"
        set_up = ["bash", "-c", _SET_UP, "bash", shared, key, name]
        self._process = subprocess.Popen(["unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc", *set_up])
        self._first = self._wait_for_first()
        self._wire(switch, name)

    def _wait_for_first(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while self._process.poll() is None:
            first = children.read_text().split()
            if first and Path(f"/proc/{first[0]}/root/run/ready").exists():
                return int(first[0])
            time.sleep(0.05)
        raise RuntimeError("a host ended while it was set up")

    def _wire(self, switch: "Host | None", name: str) -> None:
        """Give it a network card; for the first host this is the bridge."""
        if switch is None:
            self._ip("link add eth0 type bridge")
        else:
            switch._ip(f"link add {name} type veth peer name eth0 netns {self._first}")
            switch._ip(f"link set {name} master eth0 up")
        self._ip(f"addr add {self.address}/24 dev eth0")
        self._ip("link set eth0 up")
        self._ip("route add default dev eth0")  # Ray finds its own address by the default route, which leads nowhere

    def _ip(self, command: str) -> None:
        subprocess.run(["nsenter", f"--net=/proc/{self._first}/ns/net", "ip", *command.split()], check=True)

    def path(self, inside: str) -> Path:
        """Return the path outside of a file inside the host."""
        return Path(f"/proc/{self._first}/root{inside}")

    def cut_off(self) -> None:
        """Disconnect it from the network."""
        self._ip("link set eth0 down")

    def command(self, *arguments: object) -> list[str]:
        """Return the command line that runs a command there, in the checkout."""
        variables = {
            "HOME": HOME,
            "USER": USER,
            "LOGNAME": USER,
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        variables |= {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        variables |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        enter = ["nsenter", f"--target={self._first}", "--net", "--pid", "--mount", "--uts", "--ipc"]
        enter.append(f"--wd={Path.cwd()}")
        return [*enter, "env", "-i", *(f"{name}={value}" for name, value in variables.items()), *map(str, arguments)]

    def run(self, *arguments: object, check: bool = True, timeout: float = 300) -> str:
        """Run a command there to its end; return its output."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        if check and done.returncode:
            pytest.fail(f"{shlex.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def start(self, *arguments: object) -> "subprocess.Popen[bytes]":
        """Start a command there. It runs until its standard input is closed or it is killed."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self.command(*arguments), stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)

    def processes(self) -> list[str]:
        """Return the command lines of the processes there."""
        return self.run("ps", "-eo", "args", "--no-headers").splitlines()

    def end(self) -> None:
        """End everything that runs there."""
        self._process.kill()
        self._process.wait()
