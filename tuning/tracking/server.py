"""Where MLflow is, and whether it answers."""

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from mlflow import MlflowClient

from trainables.core.errors import UserError, first_line
from trainables.core.redact import without_credentials

_SQLITE = "sqlite:///"


def tracking_uri(given: str | None) -> str:
    """``--tracking-uri``, else ``MLFLOW_TRACKING_URI``, else a SQLite file in this folder, by its absolute path.

    A user and password of a server go where MLflow looks for them: what shows or stores a URI has none to tell.
    """
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).resolve()}"
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def check_server(uri: str, create: bool = True) -> None:
    """Raises UserError unless MLflow answers at ``uri``; a new SQLite file is made on the way, if one may be."""
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing about a search leaves the cluster
    # The outbox tries again by itself; MLflow's own retries would hold up the end of a search for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a trial, in the live view
    with answering(uri):
        if uri.startswith(_SQLITE):
            file = Path(uri.removeprefix(_SQLITE))
            if not create and not file.is_file():
                raise UserError(f"MLflow's store must exist, but {file} does not: give --tracking-uri")
            _make_database(file)
        MlflowClient(uri).search_experiments(max_results=1)


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turns any failure to reach MLflow into one UserError that names the server and the remedy."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a store, a driver or a network raises, the remedy is the same
        shown = without_credentials(uri)
        if getattr(error, "error_code", None) == "UNAUTHENTICATED":
            message = "asks who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account of it"
            raise UserError(f"MLflow at {shown} {message}") from error
        raise UserError(f"MLflow must answer at --tracking-uri, but {shown} does not: {first_line(error)}") from error


def _make_database(file: Path) -> None:
    """Makes MLflow's tables in a new file: whole or not at all, and once, whoever is killed or begins meanwhile."""
    if file.exists():
        return
    with FileLock(f"{file}.lock"):
        for leftover in file.parent.glob(f".{file.name}.*.partial"):
            leftover.unlink()
        if not file.exists():
            partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
            MlflowClient(f"{_SQLITE}{partial}").search_experiments(max_results=1)
            partial.rename(file)
