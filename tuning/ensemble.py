"""From a finished search to its registered ensemble: select, open the test set once, publish, show.

What was selected and scored goes into the study before anything else happens, so the test set is not opened again when
MLflow, or the driver, fails afterwards.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.ensembles import Ensemble, Selection, choose
from analysis.evaluation import Evaluation, evaluate
from analysis.registry import register_ensemble
from analysis.trials import TrialRecord, ranked, read_trials
from trainables.core.data.cache import Dataset
from trainables.core.errors import CheckpointError, first_line
from trainables.inference import infer
from trainables.trial import read_checkpoint
from tuning.cluster import Resources
from tuning.pages import log_members, write_pages
from tuning.tracking import Tracker

_ENSEMBLE = "ensemble"
_COLUMNS = ("balanced_accuracy", "macro_f1", "accuracy", "auroc")


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        members: The top-k trials, best first.
        compared: The rules that were compared on ``select``, simplest first.
        chosen: The best of them.
        evaluation: Scores on ``test``.
        openings: How often this search has opened the test set.
        version: The registered model's, where this very ensemble was registered before.
    """

    members: Sequence[TrialRecord]
    compared: Sequence[Ensemble]
    chosen: Ensemble
    evaluation: Evaluation
    openings: int
    version: str | None = None

    def checkpoints(self) -> list[tuple[str, float]]:
        """The members' checkpoints and weights, without those that have no vote."""
        weighted = zip(self.members, self.chosen.weights, strict=True)
        return [(record.best.checkpoint, float(weight)) for record, weight in weighted if record.best and weight > 0]


def find_ensemble(
    study: optuna.Study, data: Dataset, metric: str, k: int, resources: Resources, console: Console
) -> Result | None:
    """Selects and scores the ensemble of the best k trials; None where no trial finished.

    The test set is opened for it unless the study holds the scores of these very members.
    """
    members = list(itertools.islice(_whole(ranked(read_trials(study), metric), console), k))
    if not members:
        return None
    numbers = [record.number for record in members]
    known: dict[str, Any] = study.user_attrs.get(_ENSEMBLE, {"openings": 0})
    if known.get("members") == numbers:
        compared = [Ensemble(rule, np.array(weights), score) for rule, weights, score in known["compared"]]
        chosen = next(ensemble for ensemble in compared if ensemble.rule == known["chosen"])
        evaluation = Evaluation.from_dict(known["evaluation"])
        return Result(members, compared, chosen, evaluation, known["openings"], known.get("version"))
    checkpoints = [record.best.checkpoint for record in members if record.best]
    selection = Selection(data.labels[data.splits["select"]], data.class_names, metric)
    chosen, compared = choose(infer(checkpoints, data, "select", resources.cpus, resources.gpus), selection)
    openings = known["openings"] + 1
    study.set_user_attr(_ENSEMBLE, {**known, "openings": openings})  # before it is opened: no opening goes uncounted
    on_test = infer(checkpoints, data, "test", resources.cpus, resources.gpus)
    evaluation = evaluate(on_test, chosen.weights, data.labels[data.splits["test"]], data.class_names)
    noted = {
        "members": numbers,
        "compared": [(ensemble.rule, ensemble.weights.tolist(), ensemble.score) for ensemble in compared],
        "chosen": chosen.rule,
        "evaluation": evaluation.to_dict(),
        "openings": openings,
    }
    study.set_user_attr(_ENSEMBLE, noted)
    return Result(members, compared, chosen, evaluation, openings)


def _whole(records: Iterable[TrialRecord], console: Console) -> Iterator[TrialRecord]:
    """Those whose checkpoint can still be read."""
    for record in records:
        try:
            read_checkpoint(record.best.checkpoint if record.best else "")
        except (CheckpointError, OSError) as error:
            left_out = f"trial {record.number} is left out of the ensemble: {first_line(error)}"
            console.print(left_out, style="yellow", markup=False, highlight=False, soft_wrap=True)
        else:
            yield record


def publish(study: optuna.Study, result: Result, data: Dataset, metric: str, tracker: Tracker, model_name: str) -> str:
    """Logs an ensemble's figures to the parent run and registers the model, once; returns its version."""
    if result.version is not None:
        return result.version
    best = result.members[0].epochs[-1].metrics
    figures = {name: value for name, value in best.items() if name.startswith("best_") or name == "epoch_seconds"}
    figures |= {f"select_{metric}": result.chosen.score, "test_openings": result.openings}
    test = result.evaluation.ensemble.metrics
    figures |= {f"test_{name}": value for name, value in test.items() if not np.isnan(value)}
    members: list[dict[str, Any]] = [
        {"trial": record.number, "weight": float(weight), "test": asdict(scores)}
        for record, weight, scores in zip(result.members, result.chosen.weights, result.evaluation.members, strict=True)
    ]
    texts = {
        "ensemble.json": json.dumps({"rule": result.chosen.rule, "members": members}, indent=1),
        "confusion_matrix.json": json.dumps(result.evaluation.ensemble.confusion),
        "classification_report.txt": result.evaluation.ensemble.report,
    }
    for member in members:
        texts[f"members/trial-{member['trial']:04d}.txt"] = member["test"]["report"]
    tracker.log_parent(figures, texts)
    metadata = {
        "data_fingerprint": data.fingerprint,
        "data": data.place,
        "rule": result.chosen.rule,
        "trials": [member["trial"] for member in members if member["weight"] > 0],
        "notes": list(data.notes),
    }
    checkpoints = [(read_checkpoint(place), weight) for place, weight in result.checkpoints()]
    log_members(result, data, tracker)
    version = register_ensemble(tracker.uri, tracker.parent_id, model_name, checkpoints, data.class_names, metadata)
    write_pages(study.study_name, result, data, metric, tracker, model_name, version)
    study.set_user_attr(_ENSEMBLE, {**study.user_attrs[_ENSEMBLE], "version": version})
    return version


def show(result: Result, data: Dataset, metric: str, console: Console) -> None:
    """Prints the ensemble, its members and the confusion matrix."""
    compared = ", ".join(f"{ensemble.rule} {ensemble.score:.4f}" for ensemble in result.compared)
    line = f"{metric} on select: {compared}. Chosen: {result.chosen.rule}."
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    opened = "once" if result.openings == 1 else f"{result.openings} times"
    table = Table(title=f"Test set: {len(data.splits['test'])} images, opened {opened}")
    for column in ("model", "weight", "best on tune", *_COLUMNS):
        table.add_column(column.replace("_", " "), justify="left" if column == "model" else "right")
    table.add_row("ensemble", "", "", *_figures(result.evaluation.ensemble.metrics), style="bold", end_section=True)
    for record, weight, scores in zip(result.members, result.chosen.weights, result.evaluation.members, strict=True):
        best = record.epochs[-1].metrics[f"best_{metric}"]
        name = escape(f"trial {record.number} {record.config['backbone']}")
        table.add_row(name, f"{weight:.3f}", f"{best:.4f}", *_figures(scores.metrics))
    console.print(table)
    confusion = Table("true \\ predicted", *map(escape, data.class_names), title="Confusion matrix of the ensemble")
    for class_name, row in zip(data.class_names, result.evaluation.ensemble.confusion, strict=True):
        confusion.add_row(escape(class_name), *map(str, row))
    console.print(confusion)
    notes = [*data.notes, *(f"no test image of {name}" for name in result.evaluation.absent)]
    for note in notes:
        console.print(f"Note: {note}.", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _figures(scores: dict[str, float]) -> list[str]:
    return [f"{scores[name]:.4f}" for name in _COLUMNS]
