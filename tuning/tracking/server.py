"""The address of MLflow, and checks that it answers."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from mlflow import MlflowClient

from trainables.core.atomic_write import atomic_file
from trainables.core.errors import UserError, first_line
from trainables.core.redact import without_credentials

_SQLITE = "sqlite:///"


def tracking_uri(option: str | None) -> str:
    """Return the value of ``--tracking-uri``, else of ``MLFLOW_TRACKING_URI``, else a SQLite file in this folder.

    A server's user and password are moved from the URI to MLflow's environment variables, so that the URI can be shown
    and stored. The path of a SQLite file becomes absolute.
    """
    uri = option or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).resolve()}"
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def artifact_location(uri: str, experiment: str) -> str | None:
    """Return the place of a new experiment's artifacts: beside a SQLite file; None leaves it to the server.

    MLflow itself would put them into the folder that the command happened to start in.
    """
    if not uri.startswith(_SQLITE):
        return None
    return (Path(uri.removeprefix(_SQLITE)).resolve().parent / "mlruns" / experiment).as_uri()


def check_server(uri: str, create: bool = True) -> None:
    """Raise UserError unless MLflow answers at ``uri``.

    Args:
        uri: URI of MLflow.
        create: Create a SQLite file that does not exist.
    """
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # send no usage statistics
    # The outbox retries; MLflow's own retries would delay the end of a search by minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines per trial
    with reachable(uri):
        if uri.startswith(_SQLITE):
            file = Path(uri.removeprefix(_SQLITE))
            if not create and not file.is_file():
                raise UserError(
                    f"MLflow's database must exist, but {file} does not: run the command in the folder where the "
                    "search ran, or pass --tracking-uri"
                )
            _create_database(file)
        MlflowClient(uri).search_experiments(max_results=1)


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turn any failure to reach MLflow into a UserError that names the server and the remedy."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # any error of a store, a database driver or the network
        address = without_credentials(uri)
        if getattr(error, "error_code", None) == "UNAUTHENTICATED":
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a valid account"
            raise UserError(f"MLflow at {address} requires a login: {remedy}") from error
        raise UserError(f"MLflow must answer at --tracking-uri, but {address} does not: {first_line(error)}") from error


def _create_database(file: Path) -> None:
    """Create a SQLite file with MLflow's tables, completely or not at all, even with concurrent or killed processes."""
    if file.exists():
        return
    with FileLock(f"{file}.lock"):
        for leftover in file.parent.glob(f".{file.name}.*.partial"):
            leftover.unlink()
        if not file.exists():
            with atomic_file(file) as partial:
                MlflowClient(f"{_SQLITE}{partial}").search_experiments(max_results=1)
