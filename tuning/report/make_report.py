"""The report of a search: gathered from its study, its data and its checkpoints, and written beside them.

Nothing is chosen here and no test set is opened: predictions on ``test`` are those that were kept when it was. Images
of ``test`` are looked at again only where the study says that it was opened, as a part of that opening.
"""

import platform
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import optuna
import torch
from rich.console import Console

from analysis.report.embedding import images_to_embed, images_to_explain
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.report.render import render
from analysis.report.sections.segmentation_scores import worst_and_best
from trainables.core.data.dataset import Dataset
from trainables.core.data.readers.open_source import open_source
from trainables.core.errors import UserError, first_line
from trainables.core.inspect.grad_cam import Answer, Question
from trainables.core.models.networks.pixel_predictions import predicted_masks
from trainables.core.serving.predict_masks import MaskAnswer, MaskQuestion
from trainables.worker.inference import Asked, Examined
from tuning.ensemble.build import checkpoints_of, noted_ensemble
from tuning.ensemble.publish import told
from tuning.ensemble.saved_predictions import kept_predictions
from tuning.study.attributes import read_data_request, read_identity
from tuning.study.open_study import REDUCTION, first_rung
from tuning.study.opening_ledger import Openings
from tuning.study.search_folder import SearchFolder
from tuning.tracking.outbox import Tracker

REPORT = "report.html"
# From members' checkpoints, and a question to each or None, to what they cost and what they answer.
Examine = Callable[[Sequence[str], Sequence[Asked]], Sequence[Examined]]


def make_report(
    study: optuna.Study,
    data: Dataset,
    place: str,
    openings: Openings,
    examine: Examine,
    file: Path,
    console: Console,
) -> None:
    """Writes the report of a search, whole or not at all.

    Args:
        study: Of the search, at its end or before.
        data: What was searched on.
        place: The search's folder, a path or URI.
        openings: How often the test set was opened.
        examine: Looks into members.
        file: To be written.
        console: For how far it is.
    """
    began = time.monotonic()
    with console.status("making the report: the study") as status:
        search = gather_search(study, data)
        ensemble = gather_ensemble(study, data, place, openings)
        status.update("making the report: inspecting the members")
        inspection = look(data, ensemble, examine) if ensemble else Inspection()
        status.update("making the report: drawing")
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "scikit-learn", "plotly"))
        made = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with Python {platform.python_version()}, {packages}."
        page = render(search, ensemble, inspection, made)
        _write(file, page)
    took = f"Report: {file} ({len(page.encode()) / 1e6:.1f} MB, made in {time.monotonic() - began:.0f} s)"
    console.print(took, markup=False, highlight=False, soft_wrap=True)


def report_at_end(
    study: optuna.Study,
    data: Dataset,
    openings: Openings,
    examine: Examine,
    folder: SearchFolder,
    tracker: Tracker,
    console: Console,
) -> None:
    """Makes the report and logs it to the parent run; the search is not worse for it if that fails."""
    file = folder.local / REPORT
    try:
        make_report(study, data, folder.checkpoints, openings, examine, file, console)
        tracker.log_file(file)
    except Exception as error:  # whatever a server, a disk or a library raises: the search itself has come to its end
        failed = (
            f"the report could not be made or logged ({first_line(error)}): tune-report {study.study_name} makes it"
        )
        console.print(failed, style="yellow", markup=False, highlight=False, soft_wrap=True)


def gather_search(study: optuna.Study, data: Dataset) -> SearchInputs:
    """What the study holds of the search itself."""
    identity, asked = read_identity(study), read_data_request(study)
    epochs, rungs = int(identity["max-epochs"]), []
    rung = first_rung(epochs)
    while identity["pruning"] and rung < epochs:
        rungs.append(rung)
        rung *= REDUCTION
    try:
        names = tuple(map(str, open_source(data.place, asked.grouping.column).names))
    except (UserError, OSError):  # the folder is gone, and decoded images are at hand all the same
        names = ()
    return SearchInputs(study, identity["space"], identity["metric"], epochs, tuple(rungs), data, names)


def gather_ensemble(study: optuna.Study, data: Dataset, place: str, openings: Openings) -> EnsembleInputs | None:
    """What the study holds of the ensemble; None where the test set was not opened for one."""
    result = noted_ensemble(study, openings)
    if result is None:
        return None
    built, registered, space = result.built, result.registered, read_identity(study)["space"]
    on_test, why_none = kept_predictions(study, data, place, checkpoints_of(built.members), "test", built.views)
    return EnsembleInputs(
        members=built.members,
        member_scores=built.alone,
        comparison=built.comparison,
        views=built.views,
        evaluation=result.evaluation,
        opened=openings.describe(),
        model=f"models:/{space}/{registered.version}" if registered else None,
        outcome=f"{told(registered, space)}." if registered else "The ensemble is not registered.",
        test_predictions=on_test,
        why_no_predictions=why_none,
    )


def look(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """Measures the members, and looks into the one that is best on ``select``; of masks, at those of all voters."""
    if data.mask_format:
        return _look_at_masks(data, ensemble, examine)
    question = _question(data, ensemble)
    asked = [question if position == ensemble.best_member else None for position in range(len(ensemble.members))]
    try:
        examined = examine(ensemble.checkpoints, asked)
    except Exception as error:  # a checkpoint is gone, a node died: the rest can be told all the same
        return Inspection(question=question, missing=f"the members could not be inspected ({first_line(error)})")
    answer = examined[ensemble.best_member][1]
    return Inspection([costs for costs, _ in examined], question, answer if isinstance(answer, Answer) else None)


def _look_at_masks(data: Dataset, ensemble: EnsembleInputs, examine: Examine) -> Inspection:
    """The ensemble's own masks of the worst and the best images of ``test``, as a part of its opening."""
    shown = worst_and_best(np.array(ensemble.evaluation.ensemble.per_image))
    question, weights = MaskQuestion(data.splits["test"][shown]), ensemble.comparison.combination.weights
    try:
        examined = examine(ensemble.checkpoints, [question if weight > 0 else None for weight in weights])
    except Exception as error:  # a checkpoint is gone, a node died: the rest can be told all the same
        return Inspection(missing=f"the members could not be inspected ({first_line(error)})")
    answers = zip(weights, (answer for _, answer in examined), strict=True)
    parts = [weight * answer.probabilities for weight, answer in answers if isinstance(answer, MaskAnswer)]
    masks = predicted_masks(torch.from_numpy(np.sum(parts, axis=0))).to(torch.uint8).numpy()
    return Inspection([costs for costs, _ in examined], mask_positions=shown, masks=masks)


def _question(data: Dataset, ensemble: EnsembleInputs) -> Question:
    seen, test = images_to_embed(data), data.splits["test"]
    if ensemble.test_predictions is None:
        return Question(seen, test[:0], test[:0])
    of_best = ensemble.test_predictions[ensemble.best_member]
    mapped = images_to_explain(data.labels[test], of_best)
    return Question(np.asarray(seen), test[mapped], of_best[mapped].argmax(axis=1))


def _write(file: Path, page: str) -> None:
    partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
