"""Whole searches by command, each in its own process, and checks of their results."""

import math
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import psutil
from mlflow import MlflowClient

from analysis.trials import read_trials
from tuning.study.open_study import study_storage

SMALL = [
    *("--backbone", "scratch_cnn", "--image-size", "32", "--max-epochs", "3", "--address", "local"),
    "--no-report",  # a later --report switches it on again
]
ENDED = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


def command(*arguments, module="tuning.cli.run"):
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment(folder):
    return os.environ | {
        "TUNE_RUN_CACHE": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": "",
        "COLUMNS": "120",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }


def search(folder, *arguments, code=0, module="tuning.cli.run"):
    done = subprocess.run(
        command(*arguments, module=module), cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr if code == 2 else done.stdout


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


def follow(driver, until=math.inf):
    """Wait for a driver to end, or kill it at ``until``; return its last child processes."""
    children = []
    while driver.poll() is None:
        children = psutil.Process(driver.pid).children(recursive=True) or children
        if time.monotonic() >= until:
            driver.kill()
            driver.wait()
        time.sleep(0.05)
    return children


def wait_for_orphans(processes):
    """Wait until Ray's processes have noticed that their driver is gone."""
    psutil.wait_procs(processes, timeout=60)


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
