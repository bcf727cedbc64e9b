"""The MLflow run of an external evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console

from analysis.ensembles.evaluation import Evaluation
from analysis.registry.evaluations import (
    EvaluationRecord,
    Origin,
    count_evaluations,
    internal_evaluation,
    log_evaluation,
    model_origin,
)
from analysis.report.evaluation.inputs import ExternalResult
from trainables.core.errors import first_line
from trainables.core.plural import plural
from tuning.console import EXIT_FAILED, EXIT_OK, say
from tuning.predict.fetch_model import is_in_mlflow
from tuning.tracking.parent_run import experiment_of
from tuning.tracking.server import reachable, tracking_uri


@dataclass(frozen=True)
class Log:
    """The place in MLflow of a model's evaluations.

    Attributes:
        origin: Facts that MLflow has about the model.
        uri: URI of MLflow; None for a model in a folder, whose evaluations are not logged.
        experiment_id: Experiment of the run that made the model; None without one.
    """

    origin: Origin
    uri: str | None = None
    experiment_id: str | None = None

    @classmethod
    def open(cls, model: str, option: str | None, folder: Path) -> Self:
        """Find the origin of a model.

        Args:
            model: Model URI or folder.
            option: Value of ``--tracking-uri``.
            folder: Folder of the fetched model.

        Raises:
            UserError: MLflow does not answer.
        """
        if not is_in_mlflow(model):
            return cls(model_origin(None, model, folder))
        uri = tracking_uri(option)
        with reachable(uri):
            origin = model_origin(uri, model, folder)
            return cls(origin, uri, origin.run_id and experiment_of(uri, origin.run_id))

    @property
    def model(self) -> str | None:
        """The registered version, as ``models:/NAME/VERSION``; None without one."""
        return f"models:/{self.origin.name}/{self.origin.version}" if self.origin.version else None

    def internal(self) -> Evaluation | None:
        """Return the scores on the internal test set; None if they are unknown."""
        if self.uri is None or self.origin.run_id is None:
            return None
        return internal_evaluation(self.uri, self.origin)

    def earlier(self, digest: str, fingerprint: str, images: str) -> int | None:
        """Return the number of earlier evaluations of the model on the same images; None if it is unknown."""
        if self.uri is None or self.experiment_id is None:
            return None
        return count_evaluations(self.uri, self.experiment_id, digest, fingerprint, images)

    def send(self, result: ExternalResult, files: Mapping[str, str], console: Console) -> int:
        """Log a result, and return the exit code of the command."""
        if self.uri is None or self.experiment_id is None:
            say(console, "Not logged: MLflow lists evaluations of models:/ and runs:/ only.", "yellow")
            return EXIT_OK
        record = EvaluationRecord(
            model=result.model,
            digest=result.digest,
            fingerprint=result.fingerprint,
            images=result.image_fingerprint,
            place=result.place,
            summary=f"{result.headline()}, {plural(result.images, 'image')}",
            metrics={f"external_{name}": value for name, value in result.evaluation.metrics().items()},
            files=files,
        )
        try:
            run_id = log_evaluation(self.uri, self.experiment_id, self.origin, record)
        except Exception as error:  # a server may raise anything, and the result is printed already
            say(console, f"The evaluation could not be logged ({first_line(error)}): run the command again.", "red")
            return EXIT_FAILED
        say(console, f"Logged: run {run_id}{f', listed on the page of {self.model}' if self.model else ''}")
        return EXIT_OK
