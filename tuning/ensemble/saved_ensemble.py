"""The ensemble as the study holds it, so that the test set need not be opened again after a failure."""

from collections.abc import Sequence
from dataclasses import asdict

import optuna

from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Openings, Registration
from analysis.ensembles.serialization import from_json, to_json
from analysis.trials import TrialRecord, read_trials
from tuning.ensemble.members import EnsembleRequest

_ENSEMBLE = "ensemble"


def save_ensemble(study: optuna.Study, chosen: ChosenEnsemble, evaluation: Evaluation) -> None:
    """Write an ensemble and its test scores to the study, in place of an earlier one."""
    study.set_user_attr(_ENSEMBLE, {"built": to_json(chosen), "evaluation": to_json(evaluation)})


def save_registration(study: optuna.Study, registration: Registration) -> None:
    """Add the registry entry to the ensemble in the study."""
    study.set_user_attr(_ENSEMBLE, {**study.user_attrs[_ENSEMBLE], "registered": asdict(registration)})


def is_saved(study: optuna.Study, members: Sequence[TrialRecord], request: EnsembleRequest) -> bool:
    """Return True if the study holds an ensemble of exactly these members, views and rules for decisions."""
    saved = study.user_attrs.get(_ENSEMBLE, {}).get("built", {})
    wanted = [record.number for record in members], request.views, request.decisions
    decisions = from_json(saved.get("decisions", {}), DecisionRules)
    return (saved.get("members"), saved.get("views"), decisions) == wanted


def load_ensemble(study: optuna.Study, openings: Openings) -> EnsembleResult | None:
    """Return the ensemble in the study; None if the test set was never opened for one."""
    saved = study.user_attrs.get(_ENSEMBLE)
    if saved is None:
        return None
    trials = {record.number: record for record in read_trials(study)}
    return EnsembleResult(
        chosen=from_json(saved["built"], ChosenEnsemble, trials),
        evaluation=from_json(saved["evaluation"], Evaluation),
        openings=openings,
        registration=Registration(**saved["registered"]) if "registered" in saved else None,
    )
