"""Checks before work on a search that already ran: is its data unchanged, and where is its run in MLflow?"""

import os
from typing import Any

import optuna

from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError
from tuning.study.opening_ledger import split_fingerprint
from tuning.tracking.outbox import PARENT
from tuning.tracking.parent_run import check_run
from tuning.tracking.server import check_server, tracking_uri


def check_data(data: Dataset, identity: dict[str, Any]) -> None:
    """Check that the data, its selection split and ``test`` are those the search used.

    Raises:
        UserError: One of them differs.
    """
    if data.fingerprint != identity["data fingerprint"]:
        raise UserError(f"the data must not change after the search, but {data.place} has changed: restore it")
    for split in (data.selection, "test"):
        if split_fingerprint(data, split) != identity[f"{split} fingerprint"]:
            raise UserError(
                f"{split} must hold the same images as in the search, but this version splits the data differently: "
                "use the version that ran the search"
            )


def search_run(uri: str | None, study: optuna.Study, identity: dict[str, Any]) -> tuple[str, str]:
    """Return MLflow's URI and the id of the search's parent run.

    Args:
        uri: URI from the user; None takes $MLFLOW_TRACKING_URI, else the search's.
        study: Study of the search.
        identity: Identity of the search (``check_identity``).

    Raises:
        UserError: MLflow does not exist or answer, or its run of the search is missing or deleted.
    """
    uri = tracking_uri(uri or os.environ.get("MLFLOW_TRACKING_URI") or identity["tracking-uri"])
    check_server(uri, create=False)
    run_id = study.user_attrs.get(PARENT)
    if run_id is None:
        raise UserError("the search must have a run in MLflow, but has none: continue it with tune-run --resume")
    check_run(uri, run_id)
    return uri, run_id
