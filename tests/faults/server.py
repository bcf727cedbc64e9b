"""A real MLflow server that can be killed and restarted on the same store."""

import sys

from tests.services import Service


class Server(Service):
    def __init__(self, folder):
        store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        artifacts = ["--artifacts-destination", f"{folder}/artifacts"]
        command = [sys.executable, "-m", "mlflow", "server", *store, *artifacts, "--port", "PORT", "--workers", "1"]
        super().__init__(folder / "server.log", command, "/health")
