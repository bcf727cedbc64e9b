"""A driver process that writes all the time, and its check after another driver took over while it was paused."""

import os
import signal
import socket
import subprocess
import sys
import time

from trainables.core.metric_names import Objective
from tuning.study.search_folder import find_folder

PLAN = (Objective("accuracy"), 3, 0)
DRIVER = """
import sys
import optuna
from trainables.core.metric_names import Objective
from tuning.study.search_folder import find_folder
optuna.logging.set_verbosity(optuna.logging.WARNING)
root, url = sys.argv[1], sys.argv[2] or None
with find_folder(root, "search", url, resume=False).open(Objective("accuracy"), 3, 0) as study:
    trial = study.ask()
    for number in range(10**9):
        trial.set_user_attr("written", number)
        study.set_user_attr("written", number)
        if number == 20:
            print("writing", flush=True)
            sys.stdin.readline()
"""


def check_takeover(root, url, other_root, let_go=lambda: None, within_a_write=False):
    """Pause a driver, take its search over from ``other_root`` after ``let_go()``, and wake the first one up.

    Args:
        root: Folder of the first driver's searches.
        url: URL of the database; None for a journal.
        other_root: Folder of the second driver's searches.
        let_go: Does what happens to the locks of a host that is silent.
        within_a_write: Pause while the driver writes, instead of between two writes.
    """
    first = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root), url or ""],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "writing\n", first.stderr.read()
        if within_a_write:
            first.stdin.write("\n")
            first.stdin.flush()
            time.sleep(0.2)
        first.send_signal(signal.SIGSTOP)
        let_go()
        with find_folder(str(other_root), "search", url, resume=True).open(*PLAN) as study:
            before = study.trials, study.user_attrs["written"]
            first.send_signal(signal.SIGCONT)
            _, errors = first.communicate(timeout=30)
            assert (study.trials, study.user_attrs["written"]) == before
        line = f"tune-run: process {os.getpid()} on {socket.gethostname()} has taken over search 'search', because"
        assert errors.startswith(line), errors
        assert (first.returncode, len(errors.splitlines())) == (1, 1), errors
        again = find_folder(str(other_root), "search", url, resume=True).load()
        assert (again.trials, again.user_attrs["written"]) == before
    finally:
        first.kill()
        first.wait()
