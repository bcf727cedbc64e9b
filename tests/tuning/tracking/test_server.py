import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from trainables.core.errors import UserError
from tuning.tracking.server import check_server, tracking_uri


def test_an_unreachable_server_is_a_usage_error():
    with pytest.raises(UserError, match="MLflow must answer at --tracking-uri, but nonsense:// does not"):
        check_server("nonsense://")


class Guarded(BaseHTTPRequestHandler):
    """Refuses every request, as MLflow's basic-auth refuses an unknown user."""

    def do_POST(self):
        self.send_error(401)

    def log_message(self, *args):
        pass


def test_a_server_that_requires_a_login_is_a_usage_error():
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        Thread(target=server.handle_request).start()
        with pytest.raises(UserError, match=r"requires a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS"):
            check_server(f"http://127.0.0.1:{server.server_port}")


def test_the_uri_comes_from_the_option_then_the_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == f"sqlite:///{Path.cwd()}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_uri(None) == "http://server"
    assert tracking_uri("sqlite:////data/other.db") == "sqlite:////data/other.db"


def test_credentials_in_a_uri_move_to_the_environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "before")
    assert tracking_uri("https://me:pa%40ss@server:5000/x") == "https://server:5000/x"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "pa@ss"
    assert tracking_uri("postgresql://me:secret@server/db") == "postgresql://me:secret@server/db"


def test_a_new_sqlite_file_is_created_whole_and_leftovers_are_removed(tmp_path):
    file = tmp_path / "mlflow.db"
    (tmp_path / ".mlflow.db.0123.partial").write_bytes(b"left by a killed process")
    with pytest.raises(
        UserError, match=r"MLflow's database must exist, but .*mlflow\.db does not: run .*where the search ran, or"
    ):
        check_server(f"sqlite:///{file}", create=False)
    check_server(f"sqlite:///{file}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
    check_server(f"sqlite:///{file}", create=False)
