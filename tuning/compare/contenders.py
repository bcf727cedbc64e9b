"""Ensembles to compare: searches, or versions that they registered, with their saved predictions on ``test``."""

from dataclasses import dataclass
from typing import Any

import optuna
from numpy.typing import NDArray

from analysis.ensembles.result import ChosenEnsemble, Openings
from analysis.ensembles.tasks.base import TaskResults
from analysis.ensembles.tasks.choose import task_results
from analysis.registry import search_of
from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError
from tuning.ensemble.existing_search import check_data
from tuning.ensemble.saved_ensemble import load_ensemble
from tuning.ensemble.saved_predictions import load_predictions
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
    """An ensemble and its saved predictions on the test set of its search.

    Attributes:
        name: The user's name for it.
        data: Data set of its search.
        chosen: The ensemble.
        predictions: Its predictions on ``test``, as a sample scores them.
    """

    name: str
    data: Dataset
    chosen: ChosenEnsemble
    predictions: NDArray[Any]

    @property
    def results(self) -> TaskResults:
        """The results object of its task."""
        return task_results(self.data)

    def describe(self) -> str:
        """Return the name, the rule, the voting members, and the metric."""
        comparison, trials = self.chosen.comparison, [record.number for record in self.chosen.voters]
        return f"{self.name}: {comparison.chosen} of trials {trials}, chosen by {comparison.metric}"


def open_contender(name: str, places: Places) -> Contender:
    """Open a search, or the search of a registered version. Its test set is not opened again.

    Raises:
        UserError: It does not exist, its data have changed, or it has no saved predictions of this ensemble.
    """
    search, metadata = name, dict[str, Any]()
    if name.startswith(_MODELS):
        uri = tracking_uri(places.tracking_uri)
        check_server(uri, create=False)
        search, metadata = search_of(uri, name)
    folder, study = existing_folder(places.storage, search, places.study_storage)
    saved = load_ensemble(study, Openings(0, None))
    if saved is None:
        raise UserError(f"{name} must have been scored on its test set, but search {search} was not")
    chosen = saved.chosen
    scored = {
        "rule": chosen.comparison.chosen,
        "trials": [record.number for record in chosen.voters],
        "views": chosen.views,
        "select_score": chosen.comparison.score,
    }
    if metadata and (registered := {key: metadata.get(key) for key in scored}) != scored:
        raise UserError(
            f"{name} must be the ensemble that search {search} scored on its test set, {scored}, but it is {registered}"
        )
    data = read_data_request(study).prepare(sizes=sorted({record.config["image_size"] for record in chosen.members}))
    check_data(data, read_identity(study))
    members, why_none = load_predictions(study, data, folder.checkpoints, chosen.checkpoints, "test", chosen.views)
    if members is None:
        raise UserError(f"{name} must have its predictions saved, but {why_none}")
    predictions = task_results(data).combined(members, chosen.comparison.combination)
    return Contender(name, data, chosen, predictions)
