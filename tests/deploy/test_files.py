"""The cluster files, by what Ray itself makes of them; what only a cloud could say is in deploy/README.md."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.command_runner import DockerCommandRunner, SSHCommandRunner
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from tuning.study.search_folder import SearchFolder, find_folder

ROOT = Path(__file__).parents[2]
FILES = ("cluster.yaml", "deploy/gcp.yaml", "deploy/onprem.yaml")
KUBERAY = "deploy/kuberay.yaml"


def read(file):
    return yaml.safe_load((ROOT / file).read_text())


def versions():
    return dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)


def start_commands(config):
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


@pytest.mark.parametrize("file", FILES)
def test_ray_takes_the_file(file):
    config = prepare_config(read(file))
    validate_config(config)
    workers = [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]
    if config["provider"]["type"] != "local":  # where machines cost nothing extra, they are kept
        assert {kind["min_workers"] for kind in workers} == {0}
        assert config["available_node_types"][config["head_node_type"]]["resources"]["CPU"] == 0


@pytest.mark.parametrize("file", FILES)
def test_nothing_listens_to_the_outside_and_a_token_is_asked_for(file):
    config = read(file)
    text = (ROOT / file).read_text()
    assert "0.0.0.0" not in text
    assert re.search(r"RAY_AUTH_MODE=token\b", text)
    assert any(target.endswith("/.ray/auth_token") for target in config["file_mounts"])
    (head,) = [command for command in start_commands(config) if "--head" in command]
    assert "--dashboard-host=127.0.0.1" in head
    assert any("deploy/start_mlflow.sh" in command for command in config["head_start_ray_commands"])
    assert "mlflow server --host 127.0.0.1" in (ROOT / "deploy" / "start_mlflow.sh").read_text()


@pytest.mark.parametrize("file", FILES)
def test_the_scripts_that_a_head_runs_are_in_the_checkout(file):
    commands = re.findall(r"~/tune-run/(deploy/\S+\.sh)", (ROOT / file).read_text())
    assert {"deploy/stop_ray.sh", "deploy/start_mlflow.sh"} <= set(commands)
    assert all(os.access(ROOT / command, os.X_OK) for command in commands)


@pytest.mark.parametrize("file", [*FILES, KUBERAY, "deploy/Dockerfile"])
def test_what_is_started_is_what_was_tested(file):
    text, ray = (ROOT / file).read_text(), versions()["ray"]
    images = re.findall(r"rayproject/ray:(\S+)", text)
    assert images or file in ("deploy/onprem.yaml", KUBERAY)
    assert all(image == f"{ray}-py311-gpu" for image in images)
    if file != KUBERAY:  # whose image the Dockerfile makes
        assert "--constraint constraints.txt --editable '.[cluster]'" in text


def test_every_file_mounted_is_in_a_checkout():
    for file in FILES:
        for source in read(file)["file_mounts"].values():
            assert source.startswith("~") or (ROOT / source).exists()


def test_what_no_node_needs_is_neither_copied_nor_put_into_an_image():
    """Docker's patterns are of the root without `**/`, those of rsync of every folder."""
    lines = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    ignored = [line for line in lines if not line.startswith("#")]
    for file in FILES:
        assert [f"**/{pattern}" for pattern in read(file)["rsync_exclude"]] == ignored
    assert {"**/.git", "**/.venv", "**/results", "**/mlruns"} <= set(ignored)


def test_no_key_that_opens_anything_else_is_copied_to_the_head():
    """Ray takes ``ssh_private_key`` there, with which the head reaches the others."""
    keys = {file: read(file)["auth"].get("ssh_private_key") for file in FILES}
    assert keys == {"cluster.yaml": None, "deploy/gcp.yaml": None, "deploy/onprem.yaml": "~/.ssh/tune-run"}


def test_workers_on_google_cloud_have_an_account_of_their_own():
    kinds = read("deploy/gcp.yaml")["available_node_types"]
    accounts = {name: kind["node_config"].get("serviceAccounts") for name, kind in kinds.items()}
    assert accounts.pop("head") is None  # Ray gives it one that may begin and end machines
    for account in accounts.values():
        (email,) = [one["email"] for one in account]
        assert email.startswith("tune-run-worker@")


def test_ray_makes_an_autoscaler_of_the_kubernetes_file():
    cluster = read(KUBERAY)
    cluster["metadata"]["namespace"] = "default"
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["headgroup"]["resources"]["CPU"] == 0
    assert kinds["gpu"]["min_workers"] == 0 < kinds["gpu"]["max_workers"]
    assert kinds["gpu"]["resources"].items() >= {"CPU": 8, "GPU": 1, "gpu_24g": 1}.items()


def test_the_kubernetes_file_is_of_the_tested_version_and_locked():
    spec = read(KUBERAY)["spec"]
    assert spec["rayVersion"] == versions()["ray"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    assert "serviceType" not in spec["headGroupSpec"]  # so a ClusterIP, which the outside does not reach
    pods = [spec["headGroupSpec"]["template"]["spec"], spec["workerGroupSpecs"][0]["template"]["spec"]]
    (image,) = {pod["containers"][0]["image"] for pod in pods}
    assert re.fullmatch(r".+/.+:\d+\.\d+\.\d+", image)  # with a tag, so that all pods run the same
    for pod in pods:
        assert pod["volumes"][0]["emptyDir"]["medium"] == "Memory"  # for Ray's object store
        mount = pod["containers"][0]["volumeMounts"][0]
        assert mount == {"name": pod["volumes"][0]["name"], "mountPath": "/dev/shm"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pods[1]["tolerations"]
    assert "tolerations" not in pods[0]


@pytest.mark.parametrize("file", ["cluster.yaml", "docs/how-to/offline.md"])
def test_variables_of_the_hub_are_named(file):
    text = (ROOT / file).read_text()
    assert all(name in text for name in ("HF_TOKEN", "HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TORCH_HOME"))


def test_what_a_driver_writes_on_the_head_outlives_its_container(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ray")
    monkeypatch.setattr(SearchFolder, "load", lambda folder: None)
    searches = find_folder("s3://bucket/searches", "name", "postgresql:///study", resume=False, exact=True).local.parent
    for file in ("cluster.yaml", "deploy/gcp.yaml"):
        config = read(file)
        volumes = [option.split(":")[1] for option in config["docker"]["head_run_options"] if "--volume=" in option]
        assert volumes == ["/var/lib/postgresql", "/etc/postgresql", str(searches)]
        assert "sudo install --directory --owner=ray ~/.tune-run" in config["head_setup_commands"]
    pod = read(KUBERAY)["spec"]["headGroupSpec"]["template"]["spec"]
    claimed = [volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert [mounts[name] for name in claimed] == [str(searches)]


@pytest.mark.parametrize(
    ("image", "new_mount", "replaced"),
    [
        (None, False, False),
        ("another:1", False, False),
        (None, True, True),
    ],
    ids=["no change", "another image", "a new mount"],
)
def test_ray_replaces_a_running_container_only_for_a_new_mount(monkeypatch, image, new_mount, replaced):
    """As the tables of deploy/README.md say."""
    config, commands = read("cluster.yaml"), []
    answers = {
        "json .Mounts": json.dumps([{"Destination": target} for target in config["file_mounts"]]),
        ".Config.Image": config["docker"]["image"],
        ".Config.Env": '["HOME=/home/ray"]',
        ".State.Running": "true",
    }

    def run(runner, command, *_, **__):
        commands.append(command)
        return next((answer for part, answer in answers.items() if part in command), "").encode()

    monkeypatch.setattr(SSHCommandRunner, "run", run)
    docker = config["docker"] | ({"image": image} if image else {})
    runner = DockerCommandRunner(
        docker,
        log_prefix="",
        node_id="head",
        provider=None,
        auth_config=config["auth"],
        cluster_name="tune-run",
        process_runner=None,
        use_internal_ip=False,
    )
    mounts = config["file_mounts"] | ({"/home/ray/.cache/huggingface/token": "token"} if new_mount else {})
    runner.run_init(as_head=True, file_mounts=mounts, sync_run_yet=True)
    assert ("docker stop tune-run" in commands) is replaced
    assert any(command.startswith("docker run --rm ") for command in commands) is replaced
