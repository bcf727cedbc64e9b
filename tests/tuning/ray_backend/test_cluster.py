"""Joining a cluster of several nodes, on one machine."""

import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.tune import TuneError
from rich.console import Console

from analysis.trials import read_trials
from search_spaces.space import load_space
from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from trainables.worker.gpu_load import GpuLoad
from trainables.worker.inference import _run_tasks, infer
from trainables.worker.node_requirements import NodeRequirements, missing_requirements, versions
from tuning.folder_summary import inspect_folder
from tuning.new_space import starting_space
from tuning.ray_backend import node_checks as nodes
from tuning.ray_backend.callbacks.stalled_search import StalledSearch
from tuning.ray_backend.cluster import check_address, joined
from tuning.ray_backend.gpu_sharing import measure_loads, shared_gpu
from tuning.ray_backend.node_checks import node_requirements
from tuning.ray_backend.resources import Capacity, Resources, slots, trial_resources
from tuning.ray_backend.tuner import TrialPolicy, build_tuner, fit
from tuning.search.plan import Plan
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study, study_storage

pytestmark = pytest.mark.ray

CONFIG = {
    "backbone": "scratch_cnn",
    "weights": "random",
    "image_size": 32,
    "head": "linear",
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 16,
    "epochs": 2,
}


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, as in cluster.yaml, and a worker that claims two GPUs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=4, num_gpus=2, resources={"gpu_24g": 2})
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def can_grow(cluster):
    with joined(cluster.address) as can_grow:
        yield can_grow


def test_a_running_cluster_may_grow(can_grow):
    assert can_grow


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [
        (None, None, Resources(2, 1)),  # a GPU, with its share of the CPUs
        (None, 0.5, Resources(1, 0.5)),
        (0.5, 0.3333, Resources(0.5, 0.3333)),
        (None, 0.0, Resources(1, 0)),
        (3.0, None, Resources(3, 1)),
        (64.0, 8.0, Resources(64, 8)),  # accepted: such a node may join later
    ],
)
def test_resources_of_a_trial(can_grow, cpus, gpus, expected):
    assert trial_resources(cpus, gpus, can_grow) == expected


@pytest.mark.parametrize(("gpus", "devices", "scoring"), [(0, 1, 0), (0.5, 1, 0.5), (1, 1, 1), (4, 4, 1)])
def test_all_gpus_train_a_trial_and_one_scores_it(gpus, devices, scoring):
    resources = Resources(2, gpus, "gpu_24g")
    assert resources.devices == devices
    assert resources.with_one_gpu() == Resources(2, scoring, "gpu_24g")
    assert resources.with_whole_gpu() == Resources(2, 1 if gpus else 0, "gpu_24g")  # times are measured undisturbed


@pytest.mark.parametrize(
    ("gpus", "count", "expected"), [(0.6, 4, 4), (0.4, 4, 8), (0.15, 4, 24), (0.3, 8, 24), (0.5, 2, 4), (2, 8, 4)]
)
def test_a_share_of_a_gpu_is_placed_on_a_single_one(monkeypatch, gpus, count, expected):
    node = {"CPU": 16.0, "GPU": float(count)}
    assert Resources(0, gpus).fit(node) == expected
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": node}])
    assert trial_resources(None, gpus, can_grow=False).cpus == max(1, 16 // expected)


def test_ray_places_as_many_shares_as_are_counted(can_grow):
    """Two GPUs have room for 0.6 twice, although they have 2 in all."""
    groups = [ray.util.placement_group([{"GPU": 0.6}]) for _ in range(3)]
    try:
        placed, waiting = ray.wait([group.ready() for group in groups], num_returns=2)
        assert (len(placed), ray.wait(waiting, timeout=1)[0]) == (2, [])
    finally:
        for group in groups:
            ray.util.remove_placement_group(group)
    assert slots(Resources(0, 0.6)) == 2


def test_shares_of_gpus_of_different_sizes_count_on_the_large_ones(monkeypatch):
    node = {"CPU": 16.0, "GPU": 2.0, "gpu_16g": 2.0, "gpu_80g": 1.0}
    small = {"CPU": 16.0, "GPU": 1.0, "gpu_16g": 1.0}
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": each} for each in (node, small)])
    assert slots(Resources(1, 0.4, "gpu_80g")) == 2
    assert slots(Resources(1, 0.4, "gpu_16g")) == 4 + 2
    assert slots(Resources(1, 0.6)) == 2 + 1


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(1, 0), 4),
        (Resources(0.1, 0.2), 10),
        (Resources(1, 0.5), 4),
        (Resources(1, 1), 2),
        (Resources(3, 0), 1),
        (Resources(8, 1), 0),
    ],
)
def test_number_of_concurrent_trials(can_grow, resources, expected):
    assert slots(resources) == expected


def test_a_trial_that_fits_no_node_is_refused_with_a_remedy(can_grow):
    with pytest.raises(UserError, match="if nodes start on demand, give both"):
        trial_resources(64.0, None, can_grow)
    with pytest.raises(UserError, match="lower --cpus-per-trial"):
        trial_resources(64.0, 0.0, can_grow=False)


def test_a_trial_that_needs_a_large_gpu_is_not_placed_on_a_small_one(can_grow):
    assert trial_resources(None, 0.5, can_grow, "gpu_24g") == Resources(1, 0.5, "gpu_24g")
    assert slots(Resources(1, 0.5, "gpu_24g")) == 4
    assert slots(Resources(1, 1, "gpu_40g")) == 0
    with pytest.raises(UserError, match="needs 1 CPU, 1 GPU, 1 gpu_40g and the nodes have .*2 gpu_24g.*--gpu-memory"):
        trial_resources(None, None, can_grow, "gpu_40g")


def test_gpu_memory_without_a_gpu_is_refused(monkeypatch):
    """GPU nodes that are not up yet must not turn a search into one on CPUs."""
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}])
    assert trial_resources(None, None, can_grow=True) == Resources(1, 0)
    with pytest.raises(UserError, match="it needs 1 CPU, 1 GPU, 1 gpu_24g and the nodes have 8 CPUs, 0 GPUs"):
        trial_resources(None, None, True, "gpu_24g")
    assert trial_resources(4.0, 1.0, True, "gpu_24g") == Resources(4, 1, "gpu_24g")  # waits for such a node


def test_with_nodes_on_demand_more_trials_are_handed_out_than_fit_now(can_grow):
    assert Capacity(Resources(1, 1))() == 2
    assert Capacity(Resources(1, 1), at_least=8)() == 8


def test_every_node_is_checked_before_any_trial(can_grow, tmp_path, monkeypatch):
    with node_requirements(str(tmp_path / "results"), [str(tmp_path)]) as requirements:
        assert missing_requirements(requirements) == ()
    assert list((tmp_path / "results").iterdir()) == []  # the check leaves nothing behind
    installed = dict(versions())
    monkeypatch.setattr(nodes, "versions", lambda: tuple((installed | {"torch": "0.1"}).items()))
    with pytest.raises(UserError) as refused, node_requirements(str(tmp_path), [str(tmp_path / "images")]):
        pass
    message = str(refused.value)
    assert message.count(f"{socket.gethostname()} has torch {installed['torch']}, the driver 0.1: install constr") == 2
    assert message.count(f"cannot read {tmp_path / 'images'}: give --data and --weights as folders that all") == 2
    assert "has ray" not in message


def test_our_code_is_shipped_to_the_workers(can_grow):
    """These workers also see this checkout; on another host they have only the shipped code."""

    def shipped():
        import sys
        from pathlib import Path

        entries = [Path(entry) for entry in sys.path if "py_modules" in entry]
        return sorted(package.name for entry in entries for package in entry.iterdir() if package.is_dir())

    packages = ray.get(ray.remote(shipped).options(num_cpus=1).remote())
    assert packages == ["analysis", "search_spaces", "trainables", "tuning"]


def opened(folder):
    return open_study(study_storage(folder, None), "search", Objective("accuracy"), 2, seed=0)


def run(folder, data, resources, num_samples, configure=lambda trial: CONFIG, requirements=None):
    study = opened(folder)
    steering = Steering(
        study, Objective("accuracy", "latency_ms"), 2, num_samples, None, math.inf, configure, str(folder)
    )
    fit(build_tuner(steering, data, TrialPolicy(resources, 0, 3600.0, requirements), "session-001"))
    return read_trials(study)


@pytest.mark.slow
def test_trials_and_inference_run_on_the_other_node(can_grow, small_data, tmp_path):
    records = run(tmp_path, small_data, Resources(1, 0), num_samples=2)
    assert {record.state for record in records} <= {"COMPLETE", "PRUNED"}
    members = [record.best.checkpoint for record in records]
    assert all(0 < record.objectives(["latency_ms"])[0] < 1000 for record in records)
    assert all(record.device.endswith(", 1 thread") for record in records)
    shape = (2, len(small_data.splits["select"]), 3)
    assert infer(small_data, members, "select", bundle={"CPU": 1, "gpu_24g": 0.5}).shape == shape


def test_inference_reserves_the_gpu_class_of_training_and_then_frees_the_gpu(can_grow):
    """A worker that stayed for the next member would keep its GPU memory, and the GPU that it saw first."""

    def worker(shared):  # a function of the test travels by value: this file is not on the workers' path
        return os.getpid(), ray.get_runtime_context().get_assigned_resources()

    bundle = Resources(1, 1, "gpu_24g").bundle()
    ((first, reserved),), ((second, _),) = (_run_tasks(worker, None, [()], bundle) for _ in range(2))
    assert reserved == bundle
    assert first != second


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["../mine/space_of_mine.py", "package_of_mine.space:SPACE"])
def test_a_users_space_stays_on_the_driver(can_grow, small_data, tmp_path, monkeypatch, reference):
    """Workers get plain dicts: none of them imports the space or a file next to it, which are not on its path."""
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / (reference if reference.endswith(".py") else "package_of_mine/space.py")
    file.parent.mkdir()
    trace = f"import os; open({str(tmp_path / 'imported')!r}, 'a').write(str(os.getpid()) + chr(10))\n"
    file.write_text(trace + starting_space(inspect_folder(Path(small_data.place)), "mine"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    plan = Plan(load_space(reference), ("scratch_cnn",), "random", 32, 2, Objective("accuracy"), True, 0)
    records = run(tmp_path, small_data, Resources(1, 0), 1, plan.configure)
    assert {record.state for record in records} <= {"COMPLETE", "PRUNED"}
    assert (tmp_path / "imported").read_text().splitlines() == [str(os.getpid())]


def test_a_search_without_a_fitting_node_ends_at_its_deadline(can_grow, small_data, tmp_path):
    """Without the stopper, Tune would wait forever. The next Ctrl-C interrupts what follows."""

    def configure(trial):
        steering.deadline = time.monotonic() + 1  # not before a trial waits, however slow the machine is
        return CONFIG

    study = opened(tmp_path)
    steering = Steering(study, Objective("accuracy"), 2, 4, None, math.inf, configure, str(tmp_path))
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)]
    nowhere = Resources(1, 1, "gpu_80g")
    stalled = StalledSearch(steering, nowhere, Console(quiet=True))
    fit(build_tuner(steering, small_data, TrialPolicy(nowhere, 0, 3600.0), "session-001", [stalled], stalled))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)] == handlers
    assert steering.is_complete()
    assert {trial.state.name for trial in study.trials} == {"WAITING"}  # a resumed search tries them


@pytest.mark.slow
def test_an_unfit_node_that_joined_later_ends_the_session_and_fails_no_trial(can_grow, small_data, tmp_path):
    requirements = NodeRequirements((("torch", "0.1"),), (), str(tmp_path))
    with pytest.raises(TuneError, match=r"has torch \S+, the driver 0\.1: install .*; .* cannot read the driver"):
        run(tmp_path, small_data, Resources(1, 0), num_samples=4, requirements=requirements)
    assert {record.state for record in read_trials(opened(tmp_path))} == {"RUNNING"}  # the next session continues them


@pytest.mark.slow
def test_a_node_whose_gpu_cannot_be_used_ends_the_session_and_fails_no_trial(can_grow, small_data, tmp_path):
    """The cluster claims GPUs but torch finds none: a trial must not fall back to the CPU, nor be used up."""
    with pytest.raises(TuneError, match=f"{socket.gethostname()}: a GPU was requested but torch .* cannot use it: "):
        run(tmp_path, small_data, Resources(1, 0.5), num_samples=4)
    records = read_trials(opened(tmp_path))
    assert {record.state for record in records} == {"RUNNING"}  # the next session continues them
    assert not any(record.failures for record in records)


@pytest.mark.slow
def test_a_gpu_that_cannot_be_used_cannot_be_measured_either(can_grow, small_data):
    reason = "a GPU was requested but torch .* cannot use it: .*Fix that, or give a number"
    policy = TrialPolicy(trial_resources(None, None, can_grow, "gpu_24g"), max_failures=0, timeout_s=600)
    with pytest.raises(UserError, match=f"--gpus-per-trial auto cannot measure a trial: {reason}.*--resume"):
        measure_loads([CONFIG], small_data, Objective("accuracy"), policy, Console())


@pytest.mark.parametrize(
    ("cpus", "load", "trials", "expected", "limit"),
    [
        (None, GpuLoad(0.1, 0.3), 60, Resources(1, 0.5, "gpu_24g"), "its CPUs"),  # the node has two for each GPU
        (0.5, GpuLoad(0.1, 0.3), 60, Resources(0.5, 0.3333, "gpu_24g"), "its time"),
        (0.5, GpuLoad(0.1, 0.3), 4, Resources(0.5, 0.5, "gpu_24g"), "the number of trials"),  # on two GPUs
        (0.5, GpuLoad(0.6, 0.1), 60, Resources(2, 1, "gpu_24g"), "its memory"),
    ],
)
def test_trials_share_a_gpu_as_its_cpus_and_their_loads_allow(can_grow, cpus, load, trials, expected, limit, capsys):
    whole = trial_resources(2, None, can_grow, "gpu_24g")
    assert shared_gpu(whole, cpus, [load], trials, Console(width=200)) == expected
    assert f"per GPU, limited by {limit}" in capsys.readouterr().out
    assert slots(expected) >= 2


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", "http://head:8265", "a b:1"])
@pytest.mark.parametrize("variable", [False, True])
def test_an_address_of_another_form_is_refused_by_name(monkeypatch, address, variable):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    option = "RAY_ADDRESS" if variable else "--address"
    with pytest.raises(UserError, match=re.escape(f"{option} must be host:port of a cluster's head, auto or local")):
        check_address(None if variable else address)


def test_usual_addresses_pass(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    for address in (None, "local", "auto", "head:6379", "[::1]:6379"):
        check_address(address)


def test_a_temporary_folder_that_is_too_long_for_sockets_is_refused_first(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "x" * 60)
    with pytest.raises(UserError, match="a temporary folder whose path has at most .* but /x*x has 61: set RAY"):
        check_address(None)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_address(None)


LOCAL = """
import ray
from tuning.ray_backend.cluster import joined
with joined(None) as can_grow:
    print(can_grow, ray.is_initialized())
"""


def test_local_in_the_environment_starts_ray_here():
    """In a process of its own, since this one has joined a cluster."""
    environment = os.environ | {"RAY_ADDRESS": "local", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", LOCAL], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


HEAD = """
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
print(cluster.address, flush=True)
input()
cluster.shutdown()
"""
JOIN = """
import sys
from trainables.core.errors import UserError
from tuning.ray_backend.cluster import joined
try:
    with joined(sys.argv[1]):
        print("joined")
except UserError as error:
    print(error)
"""


def test_a_ray_that_cannot_start_is_named(tmp_path):
    """Ray's folder for temporary files is a file."""
    (tmp_path / "file").touch()
    environment = os.environ | {"RAY_TMPDIR": str(tmp_path / "file"), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", JOIN, "local"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Ray must start on this machine, but: [Errno 20] Not a directory")


@pytest.mark.slow
def test_a_refused_token_is_named(tmp_path):
    """A cluster with a token, joined with another one, without any, and with the right one: four processes of Ray."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 40}
    python = {"cwd": Path(__file__).parents[3], "text": True, "stdout": subprocess.PIPE}
    base = os.environ | {"HOME": str(tmp_path), "RAY_NUM_REDIS_GET_RETRIES": "2"}  # Ray's default tries for 20 s
    with subprocess.Popen([sys.executable, "-c", HEAD], env=base | token, stdin=subprocess.PIPE, **python) as head:
        address = head.stdout.readline().strip()
        answers = [
            subprocess.run([sys.executable, "-c", JOIN, address], env=base | used, check=True, **python).stdout.strip()
            for used in ({**token, "RAY_AUTH_TOKEN": "b" * 40}, {"RAY_AUTH_MODE": "token"}, {}, token)
        ]
        head.communicate("\n")
    refused = (
        f"the Ray cluster at {address} requires its token, but this machine has none or another: set RAY_AUTH_MODE"
    )
    assert [answer.startswith(refused) for answer in answers] == [True, True, True, False], answers
    assert answers[-1] == "joined"
