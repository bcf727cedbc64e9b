"""Scoring files with a registered model, on this machine or on a Ray cluster, into a CSV file."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainables.core.data.readers.folders.mask_signs import describe_masks
from trainables.core.data.readers.image_files import describe_unread, find_images, find_parquet, unread_files
from trainables.core.data.readers.unlabelled import Part, find_parts, with_slicing, without_repeats
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import UserError
from trainables.core.plural import plural
from trainables.core.serving.ensemble_files import open_ensemble
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.operating_point import IMAGE, PATIENT
from trainables.core.serving.score_images import ScoredImage, score_parts
from tuning.console import EXIT_FAILED, EXIT_OK, say, say_notes
from tuning.output_file import check_no_input
from tuning.predict.by_patient import by_patient
from tuning.predict.fetch_model import fetch_model
from tuning.predict.image_patients import PatientSource
from tuning.predict.output_rows import OutputRows, output_rows
from tuning.predict.predictions_file import PredictionsFile
from tuning.predict.table_rows import TableRows, TableSource, find_table, read_rows

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
        table: Table whose rows are predicted; None for all images.
    """

    model: str
    images: Sequence[str]
    out: Path
    tracking_uri: str | None = None
    address: str | None = None
    patients: PatientSource | None = None
    table: TableSource | None = None


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
    out = options.out.expanduser()
    parts, table, unread = _find_images(options, out, console)
    say_notes(console, describe_masks([Path(part.name) for part in parts if part.row_group < 0]))
    output = output_rows(parts, table, options.patients)
    failed, unlike = list[str](), list[str]()
    with ExitStack() as stack:
        file = stack.enter_context(PredictionsFile(out))
        folder = fetch_model("MODEL", options.model, options.tracking_uri, stack, console)
        scoring = _start_scoring(folder, parts, options.address, stack)
        ensemble = scoring.ensemble
        if scoring.parts != parts:
            output = output_rows(scoring.parts, table, options.patients)
        if output.patients is not None and not ensemble.has_patients:
            raise UserError("--per patient needs a model that predicts for whole images, but MODEL makes masks")
        say_notes(console, output.notes)
        decisions = ensemble.decision_columns(IMAGE if output.patients is None else PATIENT)
        is_of_patients = output.patients is not None
        file.begin(ensemble.class_names, ensemble.answer_heading, decisions, is_of_patients, output.columns)
        scored = _with_progress_bar(scoring.rows, _count(scoring.parts), console)
        _write(file, ensemble, _noted(output.scored(scored), failed, unlike), output)
    _list(failed, "not scored", f"error of {options.out}", console)
    _list(unlike, "unlike the training images", f"unlike_training of {options.out}", console)
    if unread:
        say_notes(console, [describe_unread(unread)])
    warning = f", {len(unlike)} of them unlike the training images" if unlike else ""
    counted = "" if output.patients is None else f" of {plural(len(set(output.patients)), 'patient')}"
    images = f"{output.count - len(failed)} of {plural(output.count, 'image')}"
    say(console, f"{images}{counted} scored{warning}: {options.out}")
    return EXIT_FAILED if failed else EXIT_OK


def _find_images(
    options: PredictOptions, out: Path, console: Console
) -> tuple[list[Part], TableRows | None, Counter[str]]:
    """Find the images to score, without repeats, and the table whose rows are predicted.

    Returns:
        The parts, the table, and the numbers of files in folders that are not read, by suffix.

    Raises:
        DataError, UserError: There are no images, a table cannot be used, or ``out`` is one of these files.
    """
    places = [Path(place).expanduser() for place in options.images]
    folders = [place for place in places if place.is_dir()]
    labels = None if options.table is None else find_table(options.table.file, folders)
    groups = options.patients and options.patients.table
    tables = [*([labels] if labels else []), *([Path(groups).expanduser()] if groups else [])]
    given = find_parts(list(map(str, places)), tables)
    check_no_input("--out", out, [*(Path(part.path) for part in given), *tables])
    unread = _unread(folders, {file.absolute() for file in (out, *tables)})
    parts = without_repeats(given)
    if repeated := _count(given) - _count(parts):
        say_notes(console, [f"images that are given more than once and scored once: {repeated}"])
    if options.table is None or labels is None:
        return parts, None, unread
    table = read_rows(options.table, labels, parts)
    say_notes(console, table.notes)
    return list(table.parts), table, unread


def _count(parts: Iterable[Part]) -> int:
    return sum(part.images for part in parts)


def _unread(folders: Iterable[Path], own: Set[Path]) -> Counter[str]:
    """Count the files in folders that are neither images nor the command's own."""
    roots = [folder.absolute() for folder in folders]
    return sum((unread_files(root, {*find_images(root), *find_parquet(root), *own}) for root in roots), Counter())


def _write(file: PredictionsFile, ensemble: Ensemble, rows: Iterator[ScoredImage], output: OutputRows) -> None:
    """Write a row per image, or per patient."""
    if output.patients is None:
        for row, cells in zip(rows, output.cells_of_images(), strict=True):
            file.write(row, *cells)
        return
    cells_of = output.cells_of_patients()
    for patient in by_patient(ensemble, rows, output.patients):
        file.write(patient.row, str(patient.images), patient.first_image, *cells_of[patient.row.name])


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
    asked = address or os.environ.get("RAY_ADDRESS") or ("local" if several_gpus else None)
    try_cluster = asked is not None and (asked != "local" or several_gpus)
    # Load on the CPU first: the cluster may need this machine's GPUs.
    ensemble = open_ensemble(folder, torch.device("cpu") if try_cluster else None)
    parts = with_slicing(parts, ensemble.pixel_format.slicing)
    if try_cluster and not ensemble.predicts_masks:
        from tuning.predict.cluster_scoring import is_larger_than_this_process, score_on_cluster  # imports ray
        from tuning.ray_backend.cluster import check_address, joined

        check_address(address)
        stack.enter_context(joined(asked))
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
