"""MLflow's registry: ensembles as models there, versions with aliases, and how often tests were opened."""

from analysis.registry.model_files import fetched_model, log_member
from analysis.registry.openings import note_openings
from analysis.registry.versions import Entrant, Registered, describe, register_ensemble

__all__ = ["Entrant", "Registered", "describe", "fetched_model", "log_member", "note_openings", "register_ensemble"]
