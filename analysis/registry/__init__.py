"""MLflow's model registry: ensembles as models, versions with aliases, and counts of test set openings."""

import os

from analysis.registry.model_files import Entrant, fetched_model, log_member
from analysis.registry.openings import record_openings
from analysis.registry.promotions import history, parse_model, promote, search_of
from analysis.registry.versions import register_ensemble, write_card

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # commands show their own progress

__all__ = [
    "Entrant",
    "fetched_model",
    "history",
    "log_member",
    "parse_model",
    "promote",
    "record_openings",
    "register_ensemble",
    "search_of",
    "write_card",
]
