"""The servers that deploy/README.md says how to run: PostgreSQL, a bucket, MLflow behind passwords."""

import sys
import uuid
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient
from mlflow.server import get_app_client

from tests.services import Service
from tests.tracking.postgres import Postgres, binaries
from tuning.tracking import check_server

BUCKET = "tracking"
ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "the admin's own secret"}
COLLEAGUE = {"MLFLOW_TRACKING_USERNAME": "colleague", "MLFLOW_TRACKING_PASSWORD": "a colleague's secret"}
AUTH_FILE = Path(__file__).parents[2] / "deploy" / "mlflow-auth.ini"


@pytest.fixture(scope="session")
def environment():
    """For what is needed to find servers and to get in."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="session")
def database(environment):
    """A PostgreSQL; from here on this process, and what it starts, may use it."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here (Debian: postgresql)")
    postgres = Postgres("mlflow", "mlflow_auth")
    for name, value in postgres.environment.items():
        environment.setenv(name, value)
    yield postgres
    postgres.stop()


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    """An S3 bucket; only who holds ``credentials`` finds it."""
    simulated = Service(tmp_path_factory.mktemp("s3") / "log", [sys.executable, "-m", "moto.server", "-p", "PORT"])
    simulated.start()
    credentials = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    found = boto3.resource("s3", endpoint_url=simulated.uri, **credentials).Bucket(BUCKET)
    found.create()
    yield found
    simulated.kill()


@pytest.fixture(scope="session")
def tracking(database, bucket, environment, tmp_path_factory):
    """An MLflow server's URI, with a colleague's name and password in the environment."""
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "2"]
    place = ["--backend-store-uri", "postgresql:///mlflow", "--artifacts-destination", f"s3://{BUCKET}/mlflow"]
    server = Service(
        tmp_path_factory.mktemp("mlflow") / "log",
        [*command, *place, "--port", "PORT"],
        health="/health",
        environment={
            "MLFLOW_AUTH_CONFIG_PATH": str(AUTH_FILE),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN["MLFLOW_TRACKING_PASSWORD"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of forms in the browser",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_S3_ENDPOINT_URL": bucket.meta.client.meta.endpoint_url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        },
    )
    server.start()
    for account in (ADMIN, COLLEAGUE):
        for name, value in account.items():
            environment.setenv(name, value)
        if account is ADMIN:
            get_app_client("basic-auth", server.uri).create_user(*COLLEAGUE.values())
    check_server(server.uri)  # as a command does, which makes MLflow silent and impatient
    yield server.uri
    server.kill()


@pytest.fixture
def study_url(database):
    """A database for the studies of one test."""
    name = f"study_{uuid.uuid4().hex}"
    database.create(name)
    return f"postgresql:///{name}"


@pytest.fixture
def demo_experiment(tracking):
    """Sets the experiment of a test's search aside when that is over; returns MLflow's URI."""
    yield tracking
    client = MlflowClient(tracking)
    made = client.get_experiment_by_name("demo_space")
    if made is not None:
        client.rename_experiment(made.experiment_id, f"demo_space of experiment {made.experiment_id}")
