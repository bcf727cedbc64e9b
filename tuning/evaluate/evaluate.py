"""External evaluation of a registered model: from the model and the images to figures, files and an MLflow run."""

import json
import platform
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from analysis.ensembles.serialization import to_json
from analysis.report.evaluation.inputs import Copies, ExternalResult
from analysis.report.evaluation.page import evaluation_page
from trainables.core.atomic_write import atomic_file
from trainables.core.errors import UserError
from trainables.core.serving.ensemble_files import ensemble_digest, open_ensemble
from trainables.core.serving.ensembles.base import Ensemble
from tuning.console import progress_bar, say
from tuning.evaluate.console_tables import show
from tuning.evaluate.data.external_data import ExternalDataRequest, open_external
from tuning.evaluate.data.subgroup_columns import subgroup_names
from tuning.evaluate.log_run import Log
from tuning.evaluate.score_source import SourceScores, score_source
from tuning.evaluate.scores import Request, evaluate_scores
from tuning.evaluate.training_copies import find_training_copies
from tuning.output_file import check_output_file, data_files
from tuning.predict.fetch_model import fetch_model


@dataclass(frozen=True)
class EvaluateOptions:
    """Arguments of ``tune-evaluate``.

    Attributes:
        model: Model URI or folder.
        data: Labelled images.
        by: Columns that divide the images into subgroups.
        prevalence: Share of positives where the model will be used, or None.
        recalibrate: Share of the groups to fit a recalibration to, or None.
        json_file: File for the complete result, or None.
        report: HTML file, or None.
        tracking_uri: MLflow tracking URI; None for the default.
    """

    model: str
    data: ExternalDataRequest
    by: tuple[str, ...] = ()
    prevalence: float | None = None
    recalibrate: float | None = None
    json_file: Path | None = None
    report: Path | None = None
    tracking_uri: str | None = None

    def check(self) -> None:
        """Raise UserError for a share outside (0, 1) or a file that may not be written, before anything is read."""
        for option, share in (("--prevalence", self.prevalence), ("--recalibrate", self.recalibrate)):
            if share is not None and not 0 < share < 1:
                raise UserError(f"{option} must be a share between 0 and 1, but got {share:g}")
        labels = self.data.table.files if self.data.table else ()
        inputs = data_files(self.data.place, [*labels, self.data.grouping.file])
        for option, file in (("--json", self.json_file), ("--report", self.report)):
            if file is not None:
                check_output_file(option, file, inputs)

    def check_model(self, ensemble: Ensemble) -> None:
        """Raise UserError for options that need probabilities if the model makes masks."""
        needing = {"--prevalence": self.prevalence, "--recalibrate": self.recalibrate}
        for option, share in needing.items():
            if share is not None and ensemble.predicts_masks:
                raise UserError(f"{option} needs a model of probabilities, but MODEL makes masks: leave it out")


def evaluate(options: EvaluateOptions, console: Console) -> int:
    """Evaluate a registered model on labelled images that it has never seen.

    Returns:
        ``EXIT_OK``, or ``EXIT_FAILED`` if MLflow did not accept the result.

    Raises:
        UserError: The model or the data cannot be used, or all images are copies of images of the search.
    """
    options.check()
    with ExitStack() as stack:
        folder = fetch_model("MODEL", options.model, options.tracking_uri, stack, console)
        log = Log.open(options.model, options.tracking_uri, folder)
        ensemble, digest = open_ensemble(folder), ensemble_digest(folder)
        options.check_model(ensemble)
        metadata = log.origin.metadata
        with progress_bar(console, "comparing the images") as progress:
            external = open_external(options.data, ensemble, metadata.get("healthy"), progress)
        names = subgroup_names(external.source.metadata, options.by)
        with progress_bar(console, "scoring") as progress:
            scores = score_source(ensemble, external, progress)
        if not len(scores.rows):
            raise UserError(f"no image of DATA could be scored; the first: {next(iter(scores.errors.values()))}")
        with progress_bar(console, "looking for images of the search") as progress:
            found = find_training_copies(external.only(scores.rows), ensemble, metadata, progress)
        scores, copies = scores.without(found[0]), found[1]
        _check_left(scores, copies)
    request = Request(options.model, digest, log, names, options.prevalence, options.recalibrate, copies, options.data)
    with console.status("computing intervals"):
        result = evaluate_scores(external.only(scores.rows), scores, ensemble, request)
    return _deliver(result, options, log, console)


def _check_left(scores: SourceScores, copies: Copies) -> None:
    """Raise UserError if all images are copies of images of the search."""
    if not len(scores.rows):
        raise UserError(
            f"DATA must hold images that the search has not seen, but {copies.images} are copies of its images "
            f"({', '.join(copies.names)}, ...) and all others are of the same groups: give images from elsewhere"
        )


def _deliver(result: ExternalResult, options: EvaluateOptions, log: Log, console: Console) -> int:
    """Show, write and log a result. What was computed is printed and written before MLflow is asked."""
    show(result, console)
    files = {"evaluation.json": json.dumps(to_json(result), indent=1)}
    if options.report is not None or log.uri is not None:
        files["report.html"] = evaluation_page(result, _footer())
    for file, name in ((options.json_file, "evaluation.json"), (options.report, "report.html")):
        if file is not None:
            with atomic_file(file) as partial:
                partial.write_text(files[name], encoding="utf-8")
            say(console, f"Written: {file}")
    return log.send(result, files, console)


def _footer() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "scikit-learn", "plotly"))
    return f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with Python {platform.python_version()}, {packages}."
