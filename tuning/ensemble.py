"""From a finished search to its registered ensemble: select, open the test set once, log, register, show."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import optuna
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from analysis.ensembles import Ensemble, Selection, choose
from analysis.evaluation import Evaluation, evaluate
from analysis.trials import TrialRecord, read_trials, top_k
from trainables.core.data.cache import Dataset
from trainables.core.metrics import MINIMIZED
from trainables.inference import infer
from trainables.trial import member_folder
from tuning.cluster import Resources
from tuning.tracking import Tracker, register_ensemble

_OPENINGS = "test openings"
_COLUMNS = ("balanced_accuracy", "macro_f1", "accuracy", "auroc")


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        members: The top-k trials, best first.
        chosen: The ensemble's rule, weights over ``members`` and score on ``select``.
        compared: All rules that were compared.
        evaluation: Scores on ``test``.
        openings: How often the test set has been opened in this search, this time included.
        version: The registered model's version.
    """

    members: Sequence[TrialRecord]
    chosen: Ensemble
    compared: Sequence[Ensemble]
    evaluation: Evaluation
    openings: int
    version: str


def finish(
    study: optuna.Study, data: Dataset, metric: str, k: int, resources: Resources, tracker: Tracker, model_name: str
) -> Result | None:
    """Builds, scores, logs and registers the ensemble of the best k trials; None where no trial finished."""
    members = top_k(read_trials(study), metric, metric in MINIMIZED, k)
    if not members:
        return None
    checkpoints = [record.best.checkpoint for record in members if record.best is not None]
    selection = Selection(data.labels[data.splits["select"]], data.class_names, metric)
    on_select = infer(checkpoints, data, "select", resources.cpus, resources.gpus)
    chosen, compared = choose(on_select, selection)
    openings = int(study.user_attrs.get(_OPENINGS, 0)) + 1
    study.set_user_attr(_OPENINGS, openings)  # before the test set is opened, so that no opening goes uncounted
    on_test = infer(checkpoints, data, "test", resources.cpus, resources.gpus)
    evaluation = evaluate(on_test, chosen.weights, data.labels[data.splits["test"]], data.class_names)
    _log(tracker, members, chosen, evaluation, metric, openings)
    with ExitStack() as stack:
        folders = [
            (stack.enter_context(member_folder(checkpoint)), float(weight))
            for checkpoint, weight in zip(checkpoints, chosen.weights, strict=True)
            if weight > 0
        ]
        metadata = {
            "data_fingerprint": data.fingerprint,
            "data": data.place,
            "rule": chosen.rule,
            "trials": [record.number for record, weight in zip(members, chosen.weights, strict=True) if weight > 0],
            "notes": list(data.notes),
        }
        version = register_ensemble(tracker.uri, tracker.parent_id, model_name, folders, data.class_names, metadata)
    return Result(members, chosen, compared, evaluation, openings, version)


def show(result: Result, data: Dataset, metric: str, console: Console) -> None:
    """Prints the ensemble, its members and the confusion matrix."""
    compared = ", ".join(f"{ensemble.rule} {ensemble.score:.4f}" for ensemble in result.compared)
    console.print(f"{metric} on select: {compared}. Chosen: {result.chosen.rule}.", highlight=False, soft_wrap=True)
    table = Table(title=f"Test set: {len(data.splits['test'])} images, opened {_times(result.openings)}")
    for column in ("model", "weight", "best on tune", *_COLUMNS):
        table.add_column(column.replace("_", " "), justify="left" if column == "model" else "right")
    table.add_row("ensemble", "", "", *_figures(result.evaluation.ensemble), style="bold", end_section=True)
    for record, weight, scores in zip(result.members, result.chosen.weights, result.evaluation.members, strict=True):
        best = record.epochs[-1].metrics[f"best_{metric}"]
        name = Text(f"trial {record.number} {record.config['backbone']}")
        table.add_row(name, f"{weight:.3f}", f"{best:.4f}", *_figures(scores))
    console.print(table)
    confusion = Table("true \\ predicted", *map(escape, data.class_names), title="Confusion matrix of the ensemble")
    for class_name, row in zip(data.class_names, result.evaluation.confusion, strict=True):
        confusion.add_row(Text(class_name), *map(str, row))
    console.print(confusion)
    for note in data.notes:
        console.print(f"Note: {note}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if result.evaluation.absent:
        console.print(f"Note: no test image of {', '.join(result.evaluation.absent)}.", style="yellow", markup=False)


def _figures(scores: dict[str, float]) -> list[str]:
    return [f"{scores[name]:.4f}" for name in _COLUMNS]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _log(
    tracker: Tracker,
    members: Sequence[TrialRecord],
    chosen: Ensemble,
    evaluation: Evaluation,
    metric: str,
    openings: int,
) -> None:
    best = members[0].epochs[-1].metrics
    figures = {name: value for name, value in best.items() if name.startswith("best_") or name == "epoch_seconds"}
    figures |= {f"select_{metric}": chosen.score, "test_openings": openings}
    figures |= {f"test_{name}": value for name, value in evaluation.ensemble.items() if not np.isnan(value)}
    rows = [
        {"trial": record.number, "weight": float(weight), **{f"test_{name}": scores[name] for name in _COLUMNS}}
        for record, weight, scores in zip(members, chosen.weights, evaluation.members, strict=True)
    ]
    tracker.log_parent(
        figures,
        {
            "ensemble.json": json.dumps({"rule": chosen.rule, "members": rows}, indent=1),
            "confusion_matrix.json": json.dumps(evaluation.confusion.tolist()),
            "classification_report.txt": evaluation.report,
        },
    )
