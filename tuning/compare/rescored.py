"""Comparison of two registered models on labelled images that neither has seen."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from analysis.registry.evaluations import stored_evaluation
from trainables.core.data.source import numbered
from trainables.core.errors import UserError
from trainables.core.plural import plural
from trainables.core.serving.ensemble_files import ensemble_digest, open_ensemble
from trainables.core.serving.ensembles.base import Ensemble
from tuning.compare.differences import Compared, show_differences
from tuning.compare.joint_groups import joint_groups
from tuning.console import EXIT_OK, progress_bar, say, say_notes
from tuning.evaluate.data.external_data import ExternalData, ExternalDataRequest, open_external
from tuning.evaluate.log_run import Log
from tuning.evaluate.score_source import score_source
from tuning.evaluate.scored import Scored
from tuning.evaluate.training_copies import find_training_copies
from tuning.predict.fetch_model import fetch_model
from tuning.tracking.server import check_server, tracking_uri

_RUN = re.compile(r"runs:/([^/]+)")
_REMINDER = "choosing by these figures uses these images to choose: confirm the choice on images that neither has seen"


@dataclass(frozen=True)
class Candidate:
    """A model to compare, and the images.

    Attributes:
        model: Model URI or folder.
        request: Place of the images, and where their labels and groups are.
        digest: SHA-256 of the model when it was evaluated; None without a stored evaluation.
        fingerprint: SHA-256 of the images then.
    """

    model: str
    request: ExternalDataRequest
    digest: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, eq=False)
class _Opened:
    """A candidate with its model and the images in the model's classes."""

    candidate: Candidate
    ensemble: Ensemble
    metadata: Mapping[str, Any]
    external: ExternalData


def evaluated(names: Sequence[str], tracking: str | None) -> list[Candidate] | None:
    """Return the models and images of stored evaluations; None if no name is one.

    Args:
        names: Each the run of an evaluation, ``runs:/RUN_ID``, or the file of its ``--json``, or anything else.
        tracking: Value of ``--tracking-uri``.

    Raises:
        UserError: A name is an evaluation and another is not, or one does not say which images it scored.
    """
    results = [_stored(name, tracking) for name in names]
    if not any(results):
        return None
    found = []
    for name, result in zip(names, results, strict=True):
        if not result:
            raise UserError(
                f"both must be evaluations, but {name} is not one: give two, or two models with --data DATA"
            )
        if not result.get("request"):
            raise UserError(f"{name} does not say where its images are: make it again with tune-evaluate")
        request = ExternalDataRequest.from_json(result["request"])
        found.append(Candidate(result["model"], request, result["digest"], result["fingerprint"]))
    return found


def _stored(name: str, tracking: str | None) -> dict[str, Any] | None:
    """Return a stored evaluation; None if the name is not of that kind."""
    file, run = Path(name).expanduser(), _RUN.fullmatch(name)
    if run is not None:
        uri = tracking_uri(tracking)
        check_server(uri, create=False)
        result = stored_evaluation(uri, run[1])
        if result is None:
            raise UserError(f"{name} must be the run of an evaluation, but has none; a model is runs:/RUN_ID/PATH")
        return result
    if file.suffix != ".json" or not file.is_file():
        return None
    try:
        raw = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(
            f"{name} must be a file that tune-evaluate --json wrote, but is not valid JSON: {error}"
        ) from error
    if not isinstance(raw, dict) or not {"model", "digest", "fingerprint"} <= raw.keys():
        raise UserError(f"{name} must be a file that tune-evaluate --json wrote, but is a different file")
    return raw


def compare_on_data(candidates: Sequence[Candidate], tracking: str | None, console: Console) -> int:
    """Score two models on the same labelled images, and print their scores and differences.

    Images that a model cannot score, copies of images of either search, and the other images of their groups are left
    out.

    Returns:
        0.

    Raises:
        UserError: A model or the images cannot be used, or the models have different classes.
    """
    with ExitStack() as stack:
        pairs = zip("AB", candidates, strict=True)
        opened = [_open(letter, candidate, tracking, stack, console) for letter, candidate in pairs]
        _check_alike(*opened)
        scored, notes = _scored(opened, console)
    for letter, one in zip("AB", opened, strict=True):
        say(console, f"{letter} is {one.candidate.model}.")
    data = scored[0].data.data
    say(console, f"Both were scored on the same {plural(len(data.splits['test']), 'image')} of {data.place}.")
    metric, names = scored[0].metric, data.class_names
    groups = joint_groups(*(one.data.data for one in scored))[data.splits["test"]]
    compared = [_in_order(_compared(one, metric, groups), one.data.data.class_names, names) for one in scored]
    with console.status("computing intervals"):
        left_out = show_differences(compared, metric, console)
    say_notes(console, [*data.notes, *notes, *left_out, _REMINDER])
    return EXIT_OK


def _open(letter: str, candidate: Candidate, tracking: str | None, stack: ExitStack, console: Console) -> _Opened:
    folder = fetch_model(letter, candidate.model, tracking, stack, console)
    if candidate.digest not in (None, ensemble_digest(folder)):
        raise UserError(f"{letter} must be the model that was evaluated, but {candidate.model} has changed since")
    ensemble, metadata = open_ensemble(folder), Log.open(candidate.model, tracking, folder).origin.metadata
    with progress_bar(console, "comparing the images") as progress:
        external = open_external(candidate.request, ensemble, metadata.get("healthy"), progress)
    if candidate.fingerprint not in (None, external.data.fingerprint):
        raise UserError(f"{letter} must have been evaluated on {external.data.place}, but its images have changed")
    return _Opened(candidate, ensemble, metadata, external)


def _check_alike(one: _Opened, other: _Opened) -> None:
    data, of_other = one.external.data, other.external.data
    if data.fingerprint != of_other.fingerprint:
        raise UserError(
            f"A and B must be evaluated on the same images, but have {data.place} and {of_other.place}: compare the "
            "models with --data DATA"
        )
    patients = [None if each is None else numbered(each.tolist()) for each in (data.patients, of_other.patients)]
    if not np.array_equal(np.array(patients[0]), np.array(patients[1])):
        raise UserError(
            "A and B must be evaluated with the same patients, but their tables or options of groups differ: compare "
            "the models with --data DATA"
        )
    order_matters = data.ordered or of_other.ordered or data.mask_format is not None
    classes = [each.class_names if order_matters else tuple(sorted(each.class_names)) for each in (data, of_other)]
    if classes[0] != classes[1] or data.ordered != of_other.ordered:
        names = [", ".join(each.class_names) + " as grades" * each.ordered for each in (data, of_other)]
        in_order = " in the same order" * order_matters
        raise UserError(f"A and B must have the same classes{in_order}, but A has {names[0]} and B {names[1]}")


def _compared(scored: Scored, metric: str, groups: NDArray[np.int64]) -> Compared:
    sample = replace(scored.task.sample("test", metric), groups=groups)
    return Compared.of(scored.task, scored.combined(scored.predictions), scored.combination, sample)


def _in_order(model: Compared, names: Sequence[str], wanted: Sequence[str]) -> Compared:
    """Return a model whose predictions, one or more columns for each class, have the classes in another order."""
    order = np.array([names.index(name) for name in wanted])

    def ordered(predictions: NDArray[Any]) -> NDArray[Any]:
        blocks = predictions.reshape(len(predictions), -1, len(names))
        return blocks[:, :, order].reshape(predictions.shape)

    if tuple(names) == tuple(wanted):
        return model
    return replace(model, by_unit={unit: (ordered(one), sample) for unit, (one, sample) in model.by_unit.items()})


def _scored(opened: Sequence[_Opened], console: Console) -> tuple[list[Scored], list[str]]:
    """Return the predictions of both models for the images that both can score, and notes on what is left out.

    Copies are looked for among the images that both can score, since the others have no features to compare.
    """
    scores = []
    for one in opened:
        with progress_bar(console, "scoring") as progress:
            scores.append(score_source(one.ensemble, one.external, progress))
    rows: NDArray[np.int64] = np.intersect1d(scores[0].rows, scores[1].rows)
    errors = scores[1].errors | scores[0].errors
    why = f"{opened[0].external.source.names[min(errors)]}: {errors[min(errors)]}" if errors else ""
    if not len(rows):
        raise UserError(f"DATA must hold images that both models can score, but there are none; the first, {why}")
    left, methods = rows, []
    for letter, one in zip("AB", opened, strict=True):
        with progress_bar(console, "looking for images of the search") as progress:
            affected, copies = find_training_copies(one.external.only(rows), one.ensemble, one.metadata, progress)
        left = np.setdiff1d(left, affected)
        methods.append(f"{letter}: {copies.method}")
    if not len(left):
        raise UserError("DATA must hold images that neither search has seen, but all are copies of images of one")
    shared = [one.without(np.setdiff1d(one.rows, left)) for one in scores]
    found = [
        Scored.of(one.external.only(left), of_model.predictions, one.ensemble, one.metadata)
        for one, of_model in zip(opened, shared, strict=True)
    ]
    notes = [f"{plural(len(errors), 'image')} not scored by both models, such as {why}"] if errors else []
    left_out = len(rows) - len(left)
    notes += [f"{left_out} copies of images of a search, and images of their groups, were left out"] * bool(left_out)
    return found, notes + methods
