"""Wall and CPU seconds of a command, by phases that end with lines which it prints."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_PERIOD_S = 0.1
END = "end"


@dataclass(frozen=True)
class Phase:
    """A phase of a command.

    Attributes:
        name: Activity of the command.
        seconds: Wall time.
        cpu_seconds: CPU time of the command and of all processes below it. Up to 0.1 s of each process that has ended
            is missing.
    """

    name: str
    seconds: float
    cpu_seconds: float


class _ProcessTree:
    """CPU time of a process and of all that it started, sampled by a thread because it is gone when they end."""

    def __init__(self, pid: int):
        self._root, self._seconds = psutil.Process(pid), dict[psutil.Process, float]()
        self._lock, self._stop = threading.Lock(), threading.Event()
        threading.Thread(target=self._sample_until_stopped, daemon=True).start()

    def cpu_seconds(self) -> float:
        """Return the CPU time so far."""
        with self._lock:
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                processes = []
            for process in processes:
                try:
                    times = process.cpu_times()
                    self._seconds[process] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue
            return sum(self._seconds.values())

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.cpu_seconds()


def run_in_phases(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], last_lines: Mapping[str, str]
) -> list[Phase]:
    """Run a command and return its phases.

    Args:
        command: Program and arguments.
        folder: Working directory.
        environment: Environment variables.
        last_lines: By the name of each phase but the last, in order: a regular expression that is found in its last
            line. The last phase, ``end``, lasts until the exit.

    Raises:
        ValueError: A phase did not end.
        CalledProcessError: The command failed.
    """
    environment = {**environment, "PYTHONUNBUFFERED": "1"}
    phases: list[Phase] = []
    waiting = list(last_lines.items())
    wall, cpu = time.perf_counter(), 0.0

    def end_phase(name: str) -> None:
        nonlocal wall, cpu
        now, used = time.perf_counter(), tree.cpu_seconds()
        phases.append(Phase(name, now - wall, used - cpu))
        wall, cpu = now, used

    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as running:
        tree = _ProcessTree(running.pid)
        assert running.stdout is not None
        for line in running.stdout:
            if waiting and re.search(waiting[0][1], line):
                end_phase(waiting.pop(0)[0])
        running.wait()
        end_phase(END)
        tree.stop()
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    if waiting:
        raise ValueError(f"every phase must end with its line, but {waiting[0][0]} had none like {waiting[0][1]!r}")
    return phases


def load_per_core() -> float:
    """Return the mean number of processes that wanted each CPU core in the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)
