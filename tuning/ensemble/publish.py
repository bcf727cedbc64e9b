"""An ensemble in MLflow: its figures and files on the parent run, and the registered model."""

import json
from dataclasses import asdict

import optuna

from analysis.registry import Entrant, Registered, register_ensemble
from analysis.statistics.calibration import reliability_diagram
from trainables.core.data.dataset import Dataset
from trainables.worker.checkpoint_io import read_models
from tuning.ensemble.build import Built, Result, checkpoints_of, note_registered
from tuning.ensemble.model_pages import log_members, write_pages
from tuning.study.opening_ledger import split_fingerprint
from tuning.tracking.outbox import Tracker


def publish(study: optuna.Study, result: Result, data: Dataset, tracker: Tracker, model_name: str) -> Registered:
    """Logs an ensemble's figures to the parent run and registers the model, once."""
    if result.registered is not None:
        return result.registered
    tracker.log_parent(_figures(result), _files(result, data))
    log_members(result, data, tracker)
    registered = register(result.built, data, tracker.uri, tracker.parent_id, model_name)
    write_pages(study.study_name, result, registered, data, tracker, model_name)
    note_registered(study, registered)
    return registered


def register(built: Built, data: Dataset, tracking_uri: str, run_id: str, model_name: str) -> Registered:
    """Registers the voters of an ensemble as a model."""
    comparison = built.comparison
    voters = [built.members[position] for position in comparison.combination.voters()]
    metadata = {
        "data_fingerprint": data.fingerprint,
        "select_fingerprint": split_fingerprint(data, data.selection),
        "test_fingerprint": split_fingerprint(data, "test"),
        "data": data.place,
        "metric": comparison.metric,
        "select_score": comparison.score,
        "chosen_on": built.where,
        "rule": comparison.chosen,
        **({"roi": data.regions.digest} if data.regions else {}),
        "views": built.views,
        "trials": [record.number for record in voters],
        "notes": list(data.notes),
    }
    entrant = Entrant(
        members=[read_models(place) for place in checkpoints_of(voters)],
        combination=comparison.combination.of_voters(),
        views=built.views,
        metadata=metadata,
        roi=data.regions.model if data.regions else None,
    )
    return register_ensemble(tracking_uri, run_id, model_name, entrant)


def told(registered: Registered, model_name: str) -> str:
    """Where the model is, in a line; why it did or did not become the champion."""
    where = f"models:/{model_name}@{registered.alias} (version {registered.version})"
    return f"Registered: {where}: {registered.reason}"


def _figures(result: Result) -> dict[str, float]:
    """What the parent run shows as metrics."""
    comparison = result.built.comparison
    best = result.built.members[0].epochs[-1].metrics
    figures = {name: value for name, value in best.items() if name.startswith("best_") or name == "epoch_seconds"}
    built = result.built
    figures |= {f"{built.prefix}_{name}": value for name, value in comparison.figures.items()}
    corrected = {f"{built.prefix}_{comparison.metric}_corrected": comparison.corrected}
    if built.tuned is not None:  # choosing the members has the larger share in the optimism
        corrected[f"{built.prefix}_{comparison.metric}_corrected"] = built.tuned.together_corrected
        corrected[f"best_{comparison.metric}_corrected"] = built.tuned.corrected
    figures |= {name: value for name, value in corrected.items() if value is not None}
    figures |= {f"test_{name}": value for name, value in result.evaluation.ensemble.metrics.items()}
    return figures


def _files(result: Result, data: Dataset) -> dict[str, str]:
    """What the parent run holds as files; each that has test scores says of which test split."""
    of_test = {"split": data.test_told, "leak": data.leak, "openings": asdict(result.openings)}
    head = f"test: {data.test_told}; {result.openings.describe()}{f'; {data.leak}' if data.leak else ''}\n\n"
    weights, scored = result.built.comparison.combination.weights, result.evaluation
    members = [
        {"trial": record.number, "weight": weight, "test": asdict(scores)}
        for record, weight, scores in zip(result.built.members, weights, scored.members, strict=True)
    ]
    ensemble = {**result.built.to_dict(), "rule": result.built.comparison.chosen, "members": members, "test": of_test}
    return {
        "ensemble.json": json.dumps(ensemble, indent=1),
        "evaluation.json": json.dumps({**scored.to_dict(), **of_test}, indent=1),
        **({} if data.mask_format else _files_of_classes(result, head)),
    }


def _files_of_classes(result: Result, head: str) -> dict[str, str]:
    scored = result.evaluation
    of_members = {
        f"members/trial-{record.number:04d}.txt": head + scores.report
        for record, scores in zip(result.built.members, scored.members, strict=True)
    }
    return {
        "reliability.svg": reliability_diagram(scored.ensemble.reliability),
        "confusion_matrix.json": json.dumps(scored.ensemble.confusion),
        "classification_report.txt": head + scored.ensemble.report,
        **of_members,
    }
