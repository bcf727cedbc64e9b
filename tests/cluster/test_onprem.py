"""``ray up deploy/onprem.yaml`` for real, from a laptop, on two hosts; one of them is cut off while a search runs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.cluster.hosts import HOME, SHARED, USER, Host, missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
FILE = f"{HOME}/onprem.yaml"
TRIALS, EPOCHS = 6, 6
# Asks from where it runs; the proxy's variables are none of a host's.
ASK = """
import sys, urllib.error, urllib.request
headers = {"Authorization": f"Bearer {open(sys.argv[2]).read().strip()}"} if sys.argv[2:] else {}
try:
    print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(error.reason)
"""
TELL = """
import json
from mlflow import MlflowClient
client = MlflowClient("http://localhost:5000")
runs = client.search_runs([client.get_experiment_by_name("demo_space").experiment_id])
children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
(parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
champion = client.get_model_version_by_alias("demo_space", "champion")
print(json.dumps({
    "parent": parent.info.status,
    "trials": sorted(int(run.data.tags["tune.trial"]) for run in children),
    "ended": sorted({run.info.status for run in children}),
    "tested": [name for name in parent.data.metrics if name.startswith("test_")],
    "champion": champion.run_id == parent.info.run_id,
}))
"""


def until(true, seconds, what):
    """Waits until it is; fails with ``what`` after so long."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(2)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """A laptop, and two hosts that it reaches."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "shared").mkdir()
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    made = []
    try:
        for name, number in (("laptop", 254), ("head", 1), ("worker", 2)):
            made.append(Host(name, number, folder / "shared", key, made[0] if made else None))
        yield made
    finally:
        for host in reversed(made):
            host.end()


def onprem(head, worker):
    """The file as a user would change it; what a test machine has already is not installed again."""
    text = (ROOT / "deploy" / "onprem.yaml").read_text().replace("/shared/tune-run", f"{SHARED}/tune-run")
    config = yaml.safe_load(text)
    config["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address]}
    assert config["auth"]["ssh_user"] == USER
    (install,) = [index for index, command in enumerate(config["setup_commands"]) if "pip install" in command]
    config["setup_commands"][install] = f"ln -sfn {sys.prefix} ~/venv"
    # An editable installation is of another checkout; the path also carries what the caller's has.
    path = f"export PYTHONPATH=$HOME/tune-run:{os.environ.get('PYTHONPATH', '')}"
    config["setup_commands"].append(f"echo '{path}' >>~/.tune-run.sh")
    return config


@pytest.fixture(scope="module")
def cluster(hosts):
    """The cluster, brought up from the laptop."""
    laptop, head, worker = hosts
    laptop.run("ray", "get-auth-token", "--generate")
    laptop.path(FILE).write_text(yaml.safe_dump(onprem(head, worker)))
    laptop.run("ray", "up", "--yes", FILE)
    until(lambda: "2 local.cluster.node" in laptop.run("ray", "exec", FILE, "ray status", check=False), 180, "both")


@pytest.fixture(scope="module")
def tunnels(cluster, hosts):
    """What the README says to type for the dashboard and for MLflow."""
    laptop = hosts[0]
    started = [laptop.start("ray", "dashboard", FILE), laptop.start("ray", "attach", FILE, "-p", 5000)]
    for port in (8265, 5000):
        until(lambda port=port: ask(laptop, f"http://localhost:{port}/") == "200", 120, f"a tunnel to port {port}")
    yield
    for process in started:
        process.kill()


def ask(host, url, token=None):
    return host.run(sys.executable, "-c", ASK, url, *([token] if token else [])).strip()


@pytest.mark.parametrize("port", [8265, 5000])
def test_the_dashboard_and_mlflow_are_not_there_for_the_outside(cluster, hosts, port):
    laptop, head, _ = hosts
    assert "refused" in ask(laptop, f"http://{head.address}:{port}/")


def test_without_the_token_nobody_joins(cluster, hosts):
    laptop, head, _ = hosts
    joining = f"import ray; ray.init(address='{head.address}:6379', log_to_driver=False); print(ray.nodes())"
    for token in ("RAY_AUTH_MODE=disabled", "RAY_AUTH_TOKEN=" + "0" * 64):
        told = laptop.run("env", token, sys.executable, "-c", joining, check=False)
        assert "Alive" not in told
        assert re.search("(?i)authenticat|token", told)
    assert ask(laptop, f"http://{head.address}:52365/api/job_agent/jobs/") in ("401", "403")


def test_the_jobs_api_asks_for_the_token(tunnels, hosts):
    laptop = hosts[0]
    jobs = "http://localhost:8265/api/jobs/"
    assert ask(laptop, jobs) in ("401", "403")
    assert ask(laptop, jobs, f"{HOME}/.ray/auth_token") == "200"


def submitted(laptop, *arguments):
    """A job that runs on the head, and prints here, line by line."""
    submit = ("env", "PYTHONUNBUFFERED=1", "ray", "job", "submit", "--address", "http://localhost:8265", "--")
    command = laptop.command(
        *submit, "tune-run", "demo_space", "--backbone", "scratch_cnn", "--image-size", 32, *arguments
    )
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)


def trains(host):
    return any("ray::ImplicitFunc" in process for process in host.processes())


def test_results_on_one_host_alone_are_refused_before_any_trial(tunnels, hosts):
    job = submitted(hosts[0], "--storage", f"{HOME}/results")
    told, _ = job.communicate(timeout=300)
    assert job.returncode != 0
    assert re.search("every node must .* worker cannot read the driver's files in --storage: give --storage", told)
    assert " epoch " not in told


def test_a_search_over_both_hosts_survives_the_loss_of_one(tunnels, hosts):
    laptop, head, worker = hosts
    job = submitted(laptop, "--num-samples", TRIALS, "--max-epochs", EPOCHS, "--no-pruning", "--cpus-per-trial", 1)
    told, trained = [], []
    for line in job.stdout:
        told.append(line)
        for host in (head, worker):
            if " epoch " in line and host not in trained and trains(host):
                trained.append(host)
                if host is worker:
                    worker.cut_off()
    assert job.wait() == 0, "".join(told)
    assert len(trained) == 2, "".join(told)
    (found,) = map(json.loads, re.findall(r"^\{.*\}$", laptop.run(sys.executable, "-c", TELL), re.MULTILINE))
    assert found["parent"] == "FINISHED"
    assert found["trials"] == list(range(TRIALS))
    assert found["ended"] == ["FINISHED"]
    assert found["tested"] and found["champion"]


def test_ray_down_ends_it(cluster, hosts):
    laptop, head, _ = hosts
    laptop.run("ray", "down", "--yes", FILE)
    assert not [line for line in head.processes() if "raylet" in line or "gcs_server" in line]
