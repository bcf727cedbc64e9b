"""The same faults with stock parts, which lose or duplicate data."""

import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest
from mlflow import MlflowClient

from tests.faults.server import Server
from tests.faults.stock import EPOCHS
from tests.searches import command, environment

pytestmark = [pytest.mark.faults, pytest.mark.ray]
NUM_SAMPLES = 8


def stock(folder, uri, *more):
    retries = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # the values of our driver
    return subprocess.Popen(
        command(folder, uri, NUM_SAMPLES, *more, module="tests.faults.stock"),
        cwd=folder, env=environment(folder) | retries, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        bufsize=1,
    )  # fmt: skip


def wait_for_training(driver):
    for line in driver.stdout:
        if "trained" in line:
            return
    raise AssertionError("the search ended early")


def results(uri):
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("stock").experiment_id])
    reports = sum(len(client.get_metric_history(run.info.run_id, "epoch")) for run in runs)
    return Counter(run.info.status for run in runs), reports


def test_a_killed_driver_duplicates_runs_or_leaves_some_running(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    driver = stock(tmp_path, uri)
    wait_for_training(driver)
    time.sleep(0.7)  # into the next trials
    orphans = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    psutil.wait_procs(orphans, timeout=60)
    output, _ = stock(tmp_path, uri, "--resume").communicate(timeout=200)
    statuses, reports = results(uri)
    print(f"{NUM_SAMPLES} trials: {dict(statuses)} runs, {reports} reports of {NUM_SAMPLES * EPOCHS}")
    assert statuses.total() != NUM_SAMPLES or statuses["RUNNING"] or reports != NUM_SAMPLES * EPOCHS, output


def test_a_server_outage_ends_the_search_or_loses_reports(tmp_path):
    server = Server(tmp_path)
    server.start()
    driver = stock(tmp_path, server.uri)
    wait_for_training(driver)
    server.kill()
    time.sleep(10)
    server.start()
    try:
        driver.communicate(timeout=200)
        statuses, reports = results(server.uri)
    finally:
        server.kill()
    print(f"{NUM_SAMPLES} trials: exit code {driver.returncode}, {dict(statuses)} runs, {reports} reports")
    assert driver.returncode != 0 or reports != NUM_SAMPLES * EPOCHS
