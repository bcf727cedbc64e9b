"""A real ``ray up deploy/onprem.yaml`` from a laptop, on two hosts, one of which is lost during a search."""

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
# Runs on a host, where the proxy variables of this machine are not set.
REQUEST = """
import sys, urllib.error, urllib.request
headers = {"Authorization": f"Bearer {open(sys.argv[2]).read().strip()}"} if sys.argv[2:] else {}
try:
    print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(error.reason)
"""
SUMMARIZE = """
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


def wait_until(condition, seconds, what):
    """Wait for a condition; fail with ``what`` after a timeout."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(2)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """A laptop and two hosts that it can reach."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "shared").mkdir()
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    hosts = []
    try:
        for name, number in (("laptop", 254), ("head", 1), ("worker", 2)):
            hosts.append(Host(name, number, folder / "shared", key, hosts[0] if hosts else None))
        yield hosts
    finally:
        for host in reversed(hosts):
            host.end()


def onprem(head, worker):
    """Return the file as a user would change it, without the installation of what this machine already has."""
    text = (ROOT / "deploy" / "onprem.yaml").read_text().replace("/shared/tune-run", f"{SHARED}/tune-run")
    config = yaml.safe_load(text)
    config["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address]}
    assert config["auth"]["ssh_user"] == USER
    (install,) = [index for index, command in enumerate(config["setup_commands"]) if "pip install" in command]
    config["setup_commands"][install] = f"ln -sfn {sys.prefix} ~/venv"
    # An editable installation may be of another checkout, so put this one on the path, with the caller's entries.
    path = f"export PYTHONPATH=$HOME/tune-run:{os.environ.get('PYTHONPATH', '')}"
    config["setup_commands"].append(f"echo '{path}' >>~/.tune-run.sh")
    return config


@pytest.fixture(scope="module")
def cluster(hosts):
    """The cluster, started from the laptop."""
    laptop, head, worker = hosts
    laptop.run("ray", "get-auth-token", "--generate")
    laptop.path(FILE).write_text(yaml.safe_dump(onprem(head, worker)))
    laptop.run("ray", "up", "--yes", FILE)
    wait_until(
        lambda: "2 local.cluster.node" in laptop.run("ray", "exec", FILE, "ray status", check=False), 180, "both"
    )


@pytest.fixture(scope="module")
def tunnels(cluster, hosts):
    """The tunnels to the dashboard and to MLflow that the documentation describes."""
    laptop = hosts[0]
    started = [laptop.start("ray", "dashboard", FILE), laptop.start("ray", "attach", FILE, "-p", 5000)]
    for port in (8265, 5000):
        wait_until(lambda port=port: ask(laptop, f"http://localhost:{port}/") == "200", 120, f"a tunnel to port {port}")
    yield
    for process in started:
        process.kill()


def ask(host, url, token=None):
    return host.run(sys.executable, "-c", REQUEST, url, *([token] if token else [])).strip()


@pytest.mark.parametrize("port", [8265, 5000])
def test_the_dashboard_and_mlflow_are_not_reachable_from_outside(cluster, hosts, port):
    laptop, head, _ = hosts
    assert "refused" in ask(laptop, f"http://{head.address}:{port}/")


def test_the_cluster_requires_its_token(cluster, hosts):
    laptop, head, _ = hosts
    joining = f"import ray; ray.init(address='{head.address}:6379', log_to_driver=False); print(ray.nodes())"
    for token in ("RAY_AUTH_MODE=disabled", "RAY_AUTH_TOKEN=" + "0" * 64):
        output = laptop.run("env", token, sys.executable, "-c", joining, check=False)
        assert "Alive" not in output
        assert re.search("(?i)authenticat|token", output)
    assert ask(laptop, f"http://{head.address}:52365/api/job_agent/jobs/") in ("401", "403")


def test_the_jobs_api_requires_the_token(tunnels, hosts):
    laptop = hosts[0]
    jobs = "http://localhost:8265/api/jobs/"
    assert ask(laptop, jobs) in ("401", "403")
    assert ask(laptop, jobs, f"{HOME}/.ray/auth_token") == "200"


def submitted(laptop, *arguments):
    """Start a job that runs on the head and prints here, line by line."""
    submit = ("env", "PYTHONUNBUFFERED=1", "ray", "job", "submit", "--address", "http://localhost:8265", "--")
    command = laptop.command(
        *submit, "tune-run", "demo_space", "--backbone", "scratch_cnn", "--image-size", 32, *arguments
    )
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)


def trains(host):
    return any("ray::ImplicitFunc" in process for process in host.processes())


def test_storage_on_a_single_host_is_refused_before_any_trial(tunnels, hosts):
    job = submitted(hosts[0], "--storage", f"{HOME}/results")
    output, _ = job.communicate(timeout=300)
    assert job.returncode != 0
    assert re.search("every node must .* worker cannot read the driver's files in --storage: give --storage", output)
    assert " epoch " not in output


def test_a_search_over_both_hosts_survives_the_loss_of_one(tunnels, hosts):
    laptop, head, worker = hosts
    job = submitted(laptop, "--num-samples", TRIALS, "--max-epochs", EPOCHS, "--no-pruning", "--cpus-per-trial", 1)
    lines, trained = [], []
    for line in job.stdout:
        lines.append(line)
        for host in (head, worker):
            if " epoch " in line and host not in trained and trains(host):
                trained.append(host)
                if host is worker:
                    worker.cut_off()
    assert job.wait() == 0, "".join(lines)
    assert len(trained) == 2, "".join(lines)
    (summary,) = map(json.loads, re.findall(r"^\{.*\}$", laptop.run(sys.executable, "-c", SUMMARIZE), re.MULTILINE))
    assert summary["parent"] == "FINISHED"
    assert summary["trials"] == list(range(TRIALS))
    assert summary["ended"] == ["FINISHED"]
    assert summary["tested"] and summary["champion"]


def test_ray_down_ends_the_cluster(cluster, hosts):
    laptop, head, _ = hosts
    laptop.run("ray", "down", "--yes", FILE)
    assert not [line for line in head.processes() if "raylet" in line or "gcs_server" in line]
