"""The scripts that `ray up` runs on a head, with stand-ins for what changes a machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import free_port
from tests.tracking.postgres import Postgres, binaries

DEPLOY = Path(__file__).parents[2] / "deploy"
# Debian's commands that need an account of their own: `sudo -u postgres COMMAND` runs COMMAND.
STAND_INS = {
    "sudo": 'if [ "$1" = -u ]; then shift 2; fi; exec "$@"',
    "apt-get": 'echo "$@" >>"$HOME/installed"',
    "chown": "",
    "service": "",
}
# Answers like MLflow, after a second, and logs each start.
MLFLOW = f"""exec {sys.executable} -c '
import http.server, sys, time
print("started", flush=True)
time.sleep(1)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
' "$5"
"""


@pytest.fixture
def run(tmp_path):
    """Run a script with stand-ins of programs; return the finished process."""

    def run(script, *arguments, programs, **environment):
        for name, content in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
            (tmp_path / name).chmod(0o755)
        path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            [DEPLOY / script, *arguments],
            env=os.environ | {"PATH": path, "HOME": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed here (Debian: postgresql)")
def test_databases_are_created_whatever_an_earlier_attempt_has_left(run):
    """A real server. The first attempt created only one of the two databases."""
    server = Postgres("study")
    try:
        for _ in range(2):
            done = run("create_databases.sh", programs=STAND_INS, **server.environment)
            assert done.returncode == 0, done.stderr
        listed = ["psql", "--dbname=postgres", "-At", "--command=SELECT datname FROM pg_database"]
        names = subprocess.check_output(listed, env=os.environ | server.environment, text=True).split()
        assert {"study", "mlflow"} <= set(names)
    finally:
        server.stop()


@pytest.fixture
def mlflow(run, tmp_path):
    """Start MLflow by the script; return the finished process. What it started ends with the test."""
    address = f"http://127.0.0.1:{free_port()}"

    def start(program, seconds):
        saved = f"echo $$ >>{tmp_path}/started; {program}"
        place = {"MLFLOW_TRACKING_URI": address, "TUNE_RUN_STORAGE": str(tmp_path)}
        log = str(tmp_path / "log")
        return run("start_mlflow.sh", "sqlite://", log, str(seconds), programs={"mlflow": saved}, **place)

    yield start
    for process in (tmp_path / "started").read_text().split():
        subprocess.run(["kill", process], stderr=subprocess.DEVNULL, check=False)


def test_mlflow_is_started_once_and_answers_when_the_script_ends(mlflow, tmp_path):
    (tmp_path / "log").write_text("an earlier line\n")
    for _ in range(2):
        done = mlflow(MLFLOW, 60)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().startswith("an earlier line\nstarted\n")
    assert (tmp_path / "log").read_text().count("started") == 1


def test_an_mlflow_that_does_not_start_is_an_error_with_the_reason(mlflow):
    done = mlflow("echo 'no such table'; exit 1", 1)
    assert done.returncode == 1
    assert "MLflow does not answer at http://127.0.0.1:" in done.stderr
    assert "no such table" in done.stderr


def test_ray_is_not_stopped_under_a_search(run, tmp_path):
    command = tmp_path / "bin" / "tune-run"
    command.parent.mkdir()
    command.write_text("input()")
    ray = {"ray": 'echo "ray $@"'}
    with subprocess.Popen([sys.executable, command], stdin=subprocess.PIPE) as search:
        refused = run("stop_ray.sh", programs=ray)
        search.communicate(b"\n")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "a search is running on this head: use `ray up --no-restart`" in refused.stderr
