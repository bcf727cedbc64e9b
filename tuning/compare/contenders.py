"""Ensembles to compare on ``test``: searches with their saved predictions, and other versions of them, scored again."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console

from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Openings
from analysis.ensembles.tasks.choose import task_results
from analysis.registry import search_of
from analysis.registry.model_files import COMBINATION
from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble_files import open_ensemble
from tuning.compare.differences import Compared
from tuning.console import progress_bar
from tuning.ensemble.existing_search import check_data
from tuning.ensemble.saved_ensemble import load_ensemble
from tuning.ensemble.saved_predictions import load_predictions
from tuning.evaluate.data.external_data import ExternalData
from tuning.evaluate.log_run import Log
from tuning.evaluate.score_source import score_source
from tuning.evaluate.scored import Scored
from tuning.predict.fetch_model import fetch_model
from tuning.study.attributes import read_data_request, read_identity
from tuning.study.search_folder import existing_folder
from tuning.tracking.server import check_server, tracking_uri

optuna.logging.set_verbosity(optuna.logging.WARNING)
_MODELS = "models:/"


@dataclass(frozen=True)
class Places:
    """Places of searches and models: the options of the command."""

    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True, eq=False)
class Contender:
    """An ensemble and its predictions on the test set of its search.

    Attributes:
        name: The user's name for it.
        data: Data set of its search.
        rule: Rule that combines its members.
        trials: Numbers of the trials that vote.
        metric: Metric that it was chosen by.
        combination: Fitted rule, with its thresholds.
        predictions: Its predictions on ``test``, as a sample scores them.
    """

    name: str
    data: Dataset
    rule: str
    trials: Sequence[int]
    metric: str
    combination: Combination
    predictions: NDArray[Any]

    @classmethod
    def of(cls, name: str, data: Dataset, chosen: ChosenEnsemble, predictions: NDArray[Any]) -> Self:
        """Return the ensemble that a search chose."""
        comparison, trials = chosen.comparison, [record.number for record in chosen.voters]
        return cls(name, data, comparison.chosen, trials, comparison.metric, comparison.combination, predictions)

    def describe(self) -> str:
        """Return the name, the rule, the voting members, and the metric."""
        return f"{self.name}: {self.rule} of trials {list(self.trials)}, chosen by {self.metric}"

    def on(self, rows: NDArray[np.int64], groups: NDArray[np.int64]) -> Compared:
        """Return the ensemble on some images of ``test``, whose groups are given."""
        task, positions = task_results(self.data), np.searchsorted(self.data.splits["test"], rows)
        sample = replace(task.sample("test", self.metric).take(positions), groups=groups)
        return Compared.of(task, self.predictions[positions], self.combination, sample)


def open_contender(name: str, places: Places, console: Console) -> Contender:
    """Open a search, or a version that it registered. Its test set is not opened again.

    Args:
        name: Name of a search, or URI of a registered version.
        places: Places of searches and models.
        console: Console for progress.

    Raises:
        UserError: It does not exist, its data have changed, or it has not been scored on its test set.
    """
    search, metadata = name, dict[str, Any]()
    if name.startswith(_MODELS):
        uri = tracking_uri(places.tracking_uri)
        check_server(uri, create=False)
        search, metadata = search_of(uri, name)
    folder, study = existing_folder(places.storage, search, places.study_storage)
    saved = load_ensemble(study, Openings(0, None))
    if metadata and (saved is None or not _is_of(metadata, saved)):
        return _scored_again(name, search, study, places, console)
    if saved is None:
        raise UserError(f"{name} must have been scored on its test set, but search {search} was not")
    chosen = saved.chosen
    with console.status(f"reading {search} and its data"):
        data = _data_of(study, sorted({record.config["image_size"] for record in chosen.members}))
        members, why_none = load_predictions(study, data, folder.checkpoints, chosen.checkpoints, "test", chosen.views)
    if members is None:
        raise UserError(f"{name} must have its predictions saved, but {why_none}")
    return Contender.of(name, data, chosen, task_results(data).combined(members, chosen.comparison.combination))


def _is_of(metadata: dict[str, Any], saved: EnsembleResult) -> bool:
    """Return True if a version with this metadata is the ensemble that its search chose."""
    chosen = saved.chosen
    wanted = {
        "rule": chosen.comparison.chosen,
        "trials": [record.number for record in chosen.voters],
        "views": chosen.views,
        "select_score": chosen.comparison.score,
    }
    if COMBINATION in metadata:  # models of earlier versions have none
        wanted[COMBINATION] = chosen.comparison.combination.digest
    return {key: metadata.get(key) for key in wanted} == wanted


def _data_of(study: optuna.Study, sizes: list[int]) -> Dataset:
    data = read_data_request(study).prepare(sizes=sizes)
    check_data(data, read_identity(study))
    return data


def _scored_again(name: str, search: str, study: optuna.Study, places: Places, console: Console) -> Contender:
    """Return a version that its search did not choose, such as one by ``tune-ensemble``, with new predictions.

    Raises:
        UserError: It was registered without opening the test set, or an image of this can no longer be scored.
    """
    with ExitStack() as stack:
        folder = fetch_model("A version", name, places.tracking_uri, stack, console)
        log = Log.open(name, places.tracking_uri, folder)
        if log.internal() is None:
            raise UserError(
                f"{name} must have been scored on the test set of {search}, but was registered without: register it "
                f"again with --open-test, which counts as an opening, or compare on other images with --data"
            )
        ensemble, metadata = open_ensemble(folder), log.origin.metadata
        with console.status(f"reading the data of {search}"):
            data = _data_of(study, [])
        of_search = ExternalData(data.open_source(), data, np.arange(len(data.class_names)), {})
        with progress_bar(console, f"scoring {name}") as progress:
            scores = score_source(ensemble, of_search, progress)
    if scores.errors:
        raise UserError(f"{name} must score every test image of {search}, but: {next(iter(scores.errors.values()))}")
    scored = Scored.of(of_search, scores.predictions, ensemble, metadata)
    predictions = scored.combined(scores.predictions)
    return Contender(name, data, metadata["rule"], metadata["trials"], scored.metric, scored.combination, predictions)
