"""No password, key or token is left in what a search shows, logs or stores."""

import base64
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from ray._private import utils
from ray.tune.execution import class_cache
from typer.testing import CliRunner

from tests.faults.server import Server
from tests.searches import SMALL, command, environment
from tests.security.payload import Payload
from trainables.core.errors import UserError
from tuning.cli.run import app
from tuning.ray_backend.patches import patch_ray
from tuning.search.preflight import search_info
from tuning.tracking.outbox import Tracker
from tuning.tracking.runs import SearchInfo
from tuning.tracking.server import check_server, tracking_uri

SECRET = "pLaNtEd0SeCrEt"
ENVIRONMENT = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD", "HF_TOKEN", "MY_API_KEY")
ENCODED = (SECRET.encode(), base64.b64encode(f"me:{SECRET}".encode()), SECRET.encode("utf-16-le"))


def found_in(*places: Path) -> list[str]:
    """Files that hold the secret."""
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    assert len(files) > 5
    return [str(file) for file in files if any(secret in file.read_bytes() for secret in ENCODED)]


@pytest.fixture
def planted(folder, monkeypatch):
    """A search's surroundings: secrets in the environment, in the server's address and in the database's."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, SECRET)
    of_ray = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the paths of sockets must be short
    monkeypatch.setenv("RAY_TMPDIR", str(of_ray))
    server = Server(folder)
    server.start()
    yield server.uri.replace("//", f"//me:{SECRET}@"), of_ray
    server.kill()
    shutil.rmtree(of_ray, ignore_errors=True)


@pytest.mark.faults
@pytest.mark.ray
def test_a_search_leaves_no_secret_and_runs_none_of_what_was_put_into_its_folder(folder, planted):
    uri, of_ray = planted
    study = f"sqlite:///file:{folder}/study.db?uri=true&token={SECRET}"
    arguments = ["demo_space", "--data", "data", *SMALL, "--tracking-uri", uri, "--study-storage", study, "--report"]
    done = _search(folder, *arguments, "--num-samples", 1)
    assert "Registered: models:/demo_space@champion" in done
    assert (folder / "results" / "demo_space" / "report.html").is_file()
    assert SECRET not in done
    assert found_in(folder, of_ray) == []
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (parent,) = client.search_runs(["1"], "params.space = 'demo_space'")
    assert parent.data.tags["tune.command"].count("http://127.0.0.1") == 1  # it is told, without the password

    marker = folder / "code-was-run"
    pickles = [file for file in (folder / "results").rglob("*") if file.suffix == ".pkl" or file.name.startswith(".")]
    checkpoints = [file.parent for file in (folder / "results").rglob("state.safetensors")]
    assert checkpoints
    for file in (
        *(file for file in pickles if file.is_file()),
        *(place / "dict_checkpoint.pkl" for place in checkpoints),
    ):
        file.write_bytes(Payload(marker).pickled())
    assert "Registered: " in _search(folder, *arguments, "--num-samples", 2, "--resume")
    assert not marker.exists()


def _search(folder, *arguments):
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_parent_run_holds_none(tmp_path):
    study = optuna.create_study()
    params = {"data": f"s3://key:{SECRET}@bucket/data", "seed": 0}
    tags = {"tune.command": f"tune-run x --tracking-uri http://me:{SECRET}@host --storage s3://b?secret_key={SECRET}"}
    Tracker(study, f"sqlite:///{tmp_path}/mlflow.db", SearchInfo("x", "x", "1", params, tags)).close("FINISHED")
    (run,) = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert run.data.params["data"] == "s3://bucket/data"
    assert run.data.tags["tune.command"] == "tune-run x --tracking-uri http://host --storage s3://b?secret_key=***"
    assert SECRET.encode() not in (tmp_path / "mlflow.db").read_bytes()


def test_the_command_that_is_stored_holds_none(small_data, monkeypatch):
    """Also where a shell had to be given the password in quotes."""
    monkeypatch.setattr(sys, "argv", ["tune-run", "x", f"--tracking-uri=http://me:{SECRET} '{SECRET}@host", "--seed=0"])
    info = search_info(optuna.create_study(), small_data, {"space": "x"})
    assert info.tags["tune.command"] == "tune-run x --tracking-uri=http://host --seed=0"


def test_ray_tells_the_command_line_without_them(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["tune-run", "--study-storage", f"postgresql://me:{SECRET} '@host"])
    patch_ray(local_only=False)
    assert utils.get_entrypoint_name() == "tune-run --study-storage postgresql://host"


def test_tune_hands_no_keys_to_its_trials(monkeypatch):
    """They would be in every node's runtime_env_agent.log."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, SECRET)
    patch_ray(local_only=False)
    assert SECRET not in str(class_cache._ActorClassCache().get(type("Trainable", (), {}))._default_options)


REFUSED = {
    ("--storage", f"s3://key:{SECRET}@bucket/x", "--study-storage", "sqlite://"): "--storage must hold no credentials",
    ("--data", f"s3://key:{SECRET}@bucket/x"): "--data must hold no credentials",
    ("--data", f"http://me:{SECRET}@server/x.zip"): "--data must hold no credentials",
    ("--study-storage", f"postgresql+nothing://me:{SECRET}@127.0.0.1:9/x"): "--study-storage must be the URL of a",
    ("--study-storage", f"me:{SECRET}@127.0.0.1"): "--study-storage must be the URL of a database",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_a_refusal_shows_none(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["demo_space", "--backbone", "scratch_cnn", "--image-size", "32", *arguments])
    assert done.exit_code == 2, done.output
    assert REFUSED[arguments] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert SECRET not in done.output + done.stderr


@pytest.mark.parametrize("scheme", ["http", "postgresql+nothing"])
def test_a_server_that_does_not_answer_is_named_without_them(scheme, monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    with pytest.raises(UserError, match="//127.0.0.1:9 does not") as raised:
        check_server(tracking_uri(f"{scheme}://me:{SECRET}@127.0.0.1:9"))
    assert SECRET not in str(raised.value)
