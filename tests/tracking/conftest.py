"""The servers that deploy/README.md describes: PostgreSQL, a bucket, and MLflow with passwords."""

import sys
import uuid
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient
from mlflow.server import get_app_client

from tests.services import Service
from tests.tracking.postgres import Postgres, binaries
from tuning.tracking.server import check_server

BUCKET = "tracking"
BUCKET_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "the admin's own secret"}
USER = {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": "the user's own secret"}
OTHER_USER = {"MLFLOW_TRACKING_USERNAME": "other-user", "MLFLOW_TRACKING_PASSWORD": "the other user's secret"}
AUTH_FILE = Path(__file__).parents[2] / "deploy" / "mlflow-auth.ini"


def log_in(environment, account):
    for name, value in account.items():
        environment.setenv(name, value)


@pytest.fixture(scope="session")
def environment():
    """Environment variables with the addresses and passwords of the servers."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="session")
def database(environment):
    """A PostgreSQL server that this process and its children can use."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here (Debian: postgresql)")
    postgres = Postgres("mlflow", "mlflow_auth")
    for name, value in postgres.environment.items():
        environment.setenv(name, value)
    yield postgres
    postgres.stop()


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    """An S3 bucket, for processes that have ``BUCKET_ENVIRONMENT``."""
    server = Service(tmp_path_factory.mktemp("s3") / "log", [sys.executable, "-m", "moto.server", "-p", "PORT"])
    server.start()
    access, secret, region = BUCKET_ENVIRONMENT.values()
    session = boto3.Session(access, secret, region_name=region)
    bucket = session.resource("s3", endpoint_url=server.uri).Bucket(BUCKET)
    bucket.create()
    yield bucket
    server.kill()


@pytest.fixture(scope="session")
def tracking(database, bucket, environment, tmp_path_factory):
    """The URI of an MLflow server; the environment has the name and password of one user."""
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "2"]
    place = ["--backend-store-uri", "postgresql:///mlflow", "--artifacts-destination", f"s3://{BUCKET}/mlflow"]
    server = Service(
        tmp_path_factory.mktemp("mlflow") / "log",
        [*command, *place, "--port", "PORT"],
        health="/health",
        environment={
            "MLFLOW_AUTH_CONFIG_PATH": str(AUTH_FILE),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN["MLFLOW_TRACKING_PASSWORD"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for forms in the browser",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_S3_ENDPOINT_URL": bucket.meta.client.meta.endpoint_url,
            **BUCKET_ENVIRONMENT,
        },
    )
    server.start()
    log_in(environment, ADMIN)
    for account in (USER, OTHER_USER):
        get_app_client("basic-auth", server.uri).create_user(*account.values())
    log_in(environment, USER)
    check_server(server.uri)  # sets MLflow's log level, retries and timeouts, as every command does
    yield server.uri
    server.kill()


@pytest.fixture
def as_another(tracking, monkeypatch):
    """A function that logs this process in as another user."""
    return lambda: log_in(monkeypatch, OTHER_USER)


@pytest.fixture
def study_url(database):
    """The URL of a database for the studies of one test."""
    name = f"study_{uuid.uuid4().hex}"
    database.create(name)
    return f"postgresql:///{name}"


@pytest.fixture
def demo_experiment(tracking):
    """The URI of MLflow. The experiment of the test's search is renamed afterwards."""
    yield tracking
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name("demo_space")
    if experiment is not None:
        client.rename_experiment(experiment.experiment_id, f"demo_space of experiment {experiment.experiment_id}")
