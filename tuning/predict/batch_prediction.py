"""Scoring files with a registered model, on this machine or on a Ray cluster, into a CSV file."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainables.core.data.readers.image_files import describe_unread, unread_files
from trainables.core.data.readers.unlabelled import Part, find_parts, with_slicing
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import UserError
from trainables.core.serving.ensemble_files import open_ensemble
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.operating_point import IMAGE, PATIENT
from trainables.core.serving.score_images import ScoredImage, score_parts
from tuning.console import EXIT_FAILED, EXIT_OK, say, say_notes
from tuning.predict.by_patient import by_patient
from tuning.predict.fetch_model import fetch_model
from tuning.predict.image_patients import PatientSource, patients_of
from tuning.predict.predictions_file import PredictionsFile

_MAX_LISTED = 10


@dataclass(frozen=True)
class PredictOptions:
    """Arguments of ``tune-predict``.

    Attributes:
        model: Model URI or folder.
        images: Files and folders to score.
        out: CSV file to write.
        tracking_uri: MLflow tracking URI; None for the default.
        address: Ray cluster to score on; None for ``$RAY_ADDRESS``, else this machine.
        patients: How images are combined to patients; None for a row per image.
    """

    model: str
    images: Sequence[str]
    out: Path
    tracking_uri: str | None = None
    address: str | None = None
    patients: PatientSource | None = None


@dataclass(frozen=True)
class _Scoring:
    """Scored images, in order, their parts, and the model that scores them."""

    ensemble: Ensemble
    parts: Sequence[Part]
    rows: Iterator[ScoredImage]


def predict_images(options: PredictOptions, console: Console) -> int:
    """Score images into a CSV file.

    Returns:
        ``EXIT_OK``, or ``EXIT_FAILED`` if an image could not be scored.

    Raises:
        UserError: The model, the images, the cluster or the output file cannot be used.
    """
    parts = find_parts([str(Path(place).expanduser()) for place in options.images])
    patients = None if options.patients is None else patients_of(parts, options.patients)
    failed, unlike = list[str](), list[str]()
    with ExitStack() as stack:
        file = stack.enter_context(PredictionsFile(options.out.expanduser()))
        folder = fetch_model("MODEL", options.model, options.tracking_uri, stack, console)
        scoring = _start_scoring(folder, parts, options.address, stack)
        ensemble, total = scoring.ensemble, sum(part.images for part in scoring.parts)
        if options.patients is not None and scoring.parts != parts:
            patients = patients_of(scoring.parts, options.patients)
        if patients is not None and not ensemble.has_patients:
            raise UserError("--per patient needs a model that predicts for whole images, but MODEL makes masks")
        decisions = ensemble.decision_columns(IMAGE if patients is None else PATIENT)
        file.begin(ensemble.class_names, ensemble.answer_heading, decisions, patients is not None)
        rows = _noted(_with_progress_bar(scoring.rows, total, console), failed, unlike)
        if patients is None:
            for row in rows:
                file.write(row)
        else:
            for patient in by_patient(ensemble, rows, patients):
                file.write(patient.row, str(patient.images), patient.first_image)
    _list(failed, "not scored", f"error of {options.out}", console)
    _list(unlike, "unlike the training images", f"unlike_training of {options.out}", console)
    places = (Path(place).expanduser() for place in options.images)
    unread = sum((unread_files(place) for place in places if place.is_dir()), Counter())
    if unread:
        say_notes(console, [describe_unread(unread)])
    warning = f", {len(unlike)} of them unlike the training images" if unlike else ""
    counted = "" if patients is None else f" of {len(set(patients))} patients"
    say(console, f"{total - len(failed)} of {total} images{counted} scored{warning}: {options.out}")
    return EXIT_FAILED if failed else EXIT_OK


def _noted(rows: Iterator[ScoredImage], failed: list[str], unlike: list[str]) -> Iterator[ScoredImage]:
    """Yield the rows, and add those that could not be scored, or are unlike the training images, to the lists."""
    for row in rows:
        if row.error:
            failed.append(printable(f"{row.name}: {row.error}"))
        if row.unlike:
            unlike.append(printable(f"{row.name}: {row.unlike}"))
        yield row


def _list(lines: Sequence[str], finding: str, column: str, console: Console) -> None:
    """Print the first lines of a finding, and the column that has all of them."""
    for line in lines[:_MAX_LISTED]:
        say(console, f"{finding}: {line}", "yellow")
    if len(lines) > _MAX_LISTED:
        say(console, f"and {len(lines) - _MAX_LISTED} more: see the column {column}", "yellow")


def _start_scoring(folder: Path, parts: Sequence[Part], address: str | None, stack: ExitStack) -> _Scoring:
    """Start scoring on a cluster if it has GPUs or several nodes, else in this process. Masks are always made here."""
    several_gpus = torch.cuda.device_count() > 1
    address = address or os.environ.get("RAY_ADDRESS") or ("local" if several_gpus else None)
    try_cluster = address is not None and (address != "local" or several_gpus)
    # Load on the CPU first: the cluster may need this machine's GPUs.
    ensemble = open_ensemble(folder, torch.device("cpu") if try_cluster else None)
    parts = with_slicing(parts, ensemble.pixel_format.slicing)
    if try_cluster and not ensemble.predicts_masks:
        from tuning.predict.cluster_scoring import is_larger_than_this_process, score_on_cluster  # imports ray
        from tuning.ray_backend.cluster import joined

        stack.enter_context(joined(address))
        if is_larger_than_this_process():
            return _Scoring(ensemble, parts, score_on_cluster(folder, parts))
    if try_cluster and torch.cuda.is_available():
        ensemble = open_ensemble(folder)
    return _Scoring(ensemble, parts, score_parts(ensemble, parts))


def _with_progress_bar(rows: Iterator[ScoredImage], total: int, console: Console) -> Iterator[ScoredImage]:
    """Yield the rows, with a progress bar if the console is a terminal."""
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(rows, total=total)
