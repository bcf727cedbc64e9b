"""Publishing an ensemble: its figures and files on the parent run, and the registered model."""

import optuna

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Registration
from analysis.registry import Entrant, register_ensemble
from analysis.registry.evaluations import log_internal_evaluation
from analysis.trials import checkpoints_of
from trainables.core.data.dataset import Dataset
from trainables.worker.checkpoint_io import read_models
from tuning.ensemble.member_features import Extract, MemberFeatures, member_features
from tuning.ensemble.member_models import about_data, log_members
from tuning.ensemble.model_pages import write_pages
from tuning.ensemble.run_artifacts import run_files, run_metrics
from tuning.ensemble.saved_ensemble import save_registration
from tuning.study.opening_ledger import split_fingerprint
from tuning.study.storage.fence import check_held
from tuning.tracking.outbox import Tracker
from tuning.tracking.parent_run import log_ensemble


def publish(
    study: optuna.Study, result: EnsembleResult, data: Dataset, tracker: Tracker, model_name: str, extract: Extract
) -> Registration:
    """Log an ensemble to the parent run and register its model, unless that was done before."""
    if result.registration is not None:
        return result.registration
    check_held(study)
    run = tracker.uri, tracker.parent_id
    log_ensemble(*run, run_metrics(result), run_files(result, data))
    features = member_features(data, result.chosen.checkpoints, extract)
    log_members(result.chosen, data, tracker, features)
    registration = register(result.chosen, data, features, run, model_name, result.evaluation)
    write_pages(study.study_name, result, registration, data, tracker, model_name)
    save_registration(study, registration)
    return registration


def register(
    chosen: ChosenEnsemble,
    data: Dataset,
    features: MemberFeatures,
    run: tuple[str, str],
    model_name: str,
    evaluation: Evaluation | None,
) -> Registration:
    """Register the voting members of an ensemble as one model, and log the test scores of its version.

    Call this before the version's page says that it was scored on the test set.

    Args:
        chosen: The ensemble.
        data: Data set of the search.
        features: Features by all members.
        run: URI of MLflow and parent run.
        model_name: Name of the registered model.
        evaluation: Its scores on ``test``; None if the test set was not opened for it.
    """
    comparison = chosen.comparison
    metadata = {
        **about_data(data, comparison.metric),
        "select_fingerprint": split_fingerprint(data, data.selection),
        "test_fingerprint": split_fingerprint(data, "test"),
        "select_score": comparison.score,
        "chosen_on": chosen.chosen_on,
        "rule": comparison.chosen,
        **({"roi": data.regions.digest} if data.regions else {}),
        "views": chosen.views,
        "trials": [number for record in chosen.voters for number in record.trials],
    }
    entrant = Entrant(
        members=[read_models(checkpoint) for checkpoint in checkpoints_of(chosen.voters)],
        combination=comparison.combination.of_voters(),
        views=chosen.views,
        metadata=metadata,
        roi=data.regions.model if data.regions else None,
        training_features=features.of(comparison.combination.voters()),
    )
    registration = register_ensemble(*run, model_name, entrant)
    if evaluation is not None:
        log_internal_evaluation(*run, registration.version, evaluation)
    return registration
