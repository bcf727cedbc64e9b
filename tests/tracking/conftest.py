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
from tuning.tracking.server import check_server

BUCKET = "tracking"
BUCKETS_OWN = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "the admin's own secret"}
COLLEAGUE = {"MLFLOW_TRACKING_USERNAME": "colleague", "MLFLOW_TRACKING_PASSWORD": "a colleague's secret"}
OTHER = {"MLFLOW_TRACKING_USERNAME": "other", "MLFLOW_TRACKING_PASSWORD": "the other's own secret"}
AUTH_FILE = Path(__file__).parents[2] / "deploy" / "mlflow-auth.ini"


def log_in(environment, account):
    for name, value in account.items():
        environment.setenv(name, value)


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
    """An S3 bucket; only who holds ``BUCKETS_OWN`` finds it."""
    simulated = Service(tmp_path_factory.mktemp("s3") / "log", [sys.executable, "-m", "moto.server", "-p", "PORT"])
    simulated.start()
    access, secret, region = BUCKETS_OWN.values()
    session = boto3.Session(access, secret, region_name=region)
    found = session.resource("s3", endpoint_url=simulated.uri).Bucket(BUCKET)
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
            **BUCKETS_OWN,
        },
    )
    server.start()
    log_in(environment, ADMIN)
    for account in (COLLEAGUE, OTHER):
        get_app_client("basic-auth", server.uri).create_user(*account.values())
    log_in(environment, COLLEAGUE)
    check_server(server.uri)  # as a command does, which makes MLflow silent and impatient
    yield server.uri
    server.kill()


@pytest.fixture
def as_another(tracking, monkeypatch):
    """Makes another colleague of this process when it is called."""
    return lambda: log_in(monkeypatch, OTHER)


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
