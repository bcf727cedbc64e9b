"""Whole searches by command, each in its own process, and checks of their results."""

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import optuna
import psutil
from mlflow import MlflowClient

from analysis.trials import read_trials
from tuning.study.storage.open_study import study_storage

SMALL = [
    *("--backbone", "scratch_cnn", "--image-size", "32", "--max-epochs", "3", "--address", "local"),
    "--no-report",  # a later --report switches it on again
]
CLOUD_METADATA = {"169.254.169.254", "metadata.google.internal"}
PYTHONPATH = os.pathsep.join([str(Path(__file__).parent / "connections"), str(Path(__file__).parents[1])])
ENDED = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


def command(*arguments, module="tuning.cli.run"):
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment(folder):
    # A Ray that this process has started leaves RAY_AUTH_MODE, which the imported Ray of a fork would not notice.
    ours = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    return ours | {
        "TUNE_RUN_CACHE": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": "",
        "COLUMNS": "120",
        "PYTHONPATH": PYTHONPATH,
        "OUTWARD": str(folder / "outward"),
    }


def search(folder, *arguments, code=0, module="tuning.cli.run"):
    """Run a command in a fork of one process of this session, which has imported the libraries."""
    with tempfile.TemporaryDirectory() as streams:
        out, err = Path(streams, "out"), Path(streams, "err")
        out.touch()
        err.touch()
        order = {"module": module, "arguments": list(map(str, arguments)), "folder": str(folder)}
        order |= {"environment": environment(folder), "files": [os.devnull, str(out), str(err)]}
        returned = _ordered(order)
        printed, errors = out.read_text(), err.read_text()
    assert returned == code, printed + errors
    assert "Traceback" not in printed + errors
    return errors if code == 2 else printed


def _ordered(order):
    """Return the exit code of a command that the process of forks runs."""
    process = _forking()
    try:
        print(json.dumps(order), file=process.stdin, flush=True)
        return int(process.stdout.readline())
    except BaseException:
        _forking.cache_clear()  # its answer is still to come, and belongs to no other order
        raise


@functools.cache
def _forking():
    words, pipe = [sys.executable, "-m", "tests.forked"], subprocess.PIPE
    return subprocess.Popen(words, env=os.environ | {"PYTHONPATH": PYTHONPATH}, stdin=pipe, stdout=pipe, text=True)


def called_out(folder):
    """Return the connections to other machines that commands in this folder opened, one a line.

    Ray's own process asks once which cloud it runs in, also with RAY_USAGE_STATS_ENABLED=0, which only keeps the answer
    here. Ray 2.60 has no setting for it. These addresses exist within a cloud only.
    """
    lines = (folder / "outward").read_text().splitlines()
    of_ray = [line for line in lines if "ray/dashboard/dashboard.py" in line and line.split()[1] in CLOUD_METADATA]
    return [line for line in lines if line not in of_ray]


def start_search(folder, *arguments, reports=3, unit="epoch"):
    """Start a driver and return it after a number of reports."""
    driver = subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, bufsize=1,
    )  # fmt: skip
    lines = []
    for line in driver.stdout:
        lines.append(line)
        if sum(f" {unit} " in line for line in lines) == reports:
            return driver
    raise AssertionError("the search ended early: " + "".join(lines))


def killed_search(folder, point, nth, *arguments):
    """Run a search that kills its driver at a named point (tests/faults/kills.py)."""
    search(folder, point, nth, *arguments, code=-signal.SIGKILL, module="tests.faults.kills")
    wait_for_orphans(folder)


def wait_for_orphans(folder):
    """Wait until the processes that Ray started for searches in a folder have noticed that their driver is gone."""
    cache = environment(folder)["TUNE_RUN_CACHE"]
    processes = psutil.process_iter(["environ"])
    orphans = [one for one in processes if (one.info["environ"] or {}).get("TUNE_RUN_CACHE") == cache]
    psutil.wait_procs(orphans, timeout=60)


def tracked(uri, space):
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(space).experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return client, parents, children


def check_nothing_lost(study, uri, space, num_samples, epochs):
    """Check the invariants of a finished search, however often its driver was killed."""
    records = read_trials(study)
    assert [record.number for record in records] == list(range(num_samples))
    for record in records:
        assert record.state in ENDED
        assert [epoch.epoch for epoch in record.epochs] == list(range(1, len(record.epochs) + 1))
        assert (record.state == "COMPLETE") == (len(record.epochs) == epochs)
    client, (parent,), children = tracked(uri, space)
    assert parent.info.status == "FINISHED"
    assert Counter(int(child.data.tags["tune.trial"]) for child in children) == Counter(range(num_samples))
    for child in children:
        record = records[int(child.data.tags["tune.trial"])]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == ENDED[record.state]
        for name in record.epochs[0].metrics if record.epochs else ():
            history = client.get_metric_history(child.info.run_id, name)
            expected = [(epoch.epoch, epoch.metrics[name], epoch.time_ms) for epoch in record.epochs]
            assert [(point.step, point.value, point.timestamp) for point in history] == expected
    return parent


def load(folder, name):
    return optuna.load_study(study_name=name, storage=study_storage(folder / "results" / name, None))
