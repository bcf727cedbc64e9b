"""The packed table as arrays: the curves of one data set and the costs that its trials share."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves.data_sets import Scale
from benchmarks.curves.record_trial import METRIC
from search_spaces.space import Params

SETTING = "setting.json"  # beside each table
TABLES = {scale: Path(__file__).parent / "tables" / scale / "trials.jsonl.gz" for scale in Scale}
Floats = NDArray[np.float64]
# Backbone, quarters of its stages that are frozen, and augmentation: trials with equal ones share cached outputs.
CacheKey = tuple[str, int, str]


@dataclass(frozen=True, eq=False)
class Curve:
    """One trial in full: E epochs, or fewer if it failed.

    Attributes:
        tune: (E,) score of each epoch on ``tune``.
        seconds: (E,) seconds of each epoch.
        select: (E,) score on ``select`` of the best checkpoint so far.
        test: (E,) the same on ``test``.
        failed_after: Seconds after which the next epoch fails, or None.
    """

    tune: Floats
    seconds: Floats
    select: Floats
    test: Floats
    failed_after: float | None = None

    @property
    def cost(self) -> float:
        """Seconds of the whole trial."""
        return float(self.seconds.sum()) + (self.failed_after or 0.0)


@dataclass(frozen=True, eq=False)
class RecordedCurves:
    """The recorded trials of one data set, in the order of the configurations.

    Attributes:
        epochs: Epochs of a full trial.
        params: Parameters of each trial.
        curves: Curve of each trial.
        recipes: Positions of the published recipes.
        cache_seconds: Cost of the outputs of frozen stages. The first trial of a search that reads them pays it.
    """

    epochs: int
    params: tuple[Params, ...]
    curves: tuple[Curve, ...]
    recipes: tuple[int, ...]
    cache_seconds: Mapping[CacheKey, float]

    @property
    def mean_cost(self) -> float:
        """Mean seconds of a full trial."""
        return float(np.mean([curve.cost for curve in self.curves]))


def cache_key(params: Params) -> CacheKey:
    """Return the key under which trials share cached outputs."""
    return params["backbone"], params["frozen_quarters"], params["augmentation"]


def read_table(file: Path, epochs: int) -> dict[str, RecordedCurves]:
    """Read a packed table, by data set."""
    by_set: dict[str, list[dict[str, Any]]] = {}
    for line in gzip.decompress(file.read_bytes()).decode().splitlines():
        trial = json.loads(line)
        by_set.setdefault(trial["data_set"], []).append(trial)
    return {name: _recorded(trials, epochs) for name, trials in by_set.items()}


@cache
def read_packed(scale: Scale) -> dict[str, RecordedCurves]:
    """Read a table of the repository, by data set."""
    file = TABLES[scale]
    return read_table(file, json.loads(file.with_name(SETTING).read_text())["epochs"])


def _recorded(trials: list[dict[str, Any]], epochs: int) -> RecordedCurves:
    costs: dict[CacheKey, float] = {}
    for trial in trials:  # only the first recorded trial of a key computed the outputs; for the others it took no time
        key = cache_key(trial["params"])
        costs[key] = max(costs.get(key, 0.0), trial["cache_seconds"])
    return RecordedCurves(
        epochs=epochs,
        params=tuple(trial["params"] for trial in trials),
        curves=tuple(map(_curve, trials)),
        recipes=tuple(place for place, trial in enumerate(trials) if trial["recipe"] is not None),
        cache_seconds=costs,
    )


def _curve(trial: dict[str, Any]) -> Curve:
    epochs = trial["epochs"]
    select, test = np.empty(len(epochs)), np.empty(len(epochs))
    for improvement in trial["improvements"]:  # holds until the next improvement
        select[improvement["epoch"] - 1 :] = improvement["select"][METRIC]
        test[improvement["epoch"] - 1 :] = improvement["test"][METRIC]
    return Curve(
        tune=np.array([epoch["metrics"][f"tune/{METRIC}"] for epoch in epochs]),
        seconds=np.array([epoch["seconds"] for epoch in epochs]),
        select=select,
        test=test,
        failed_after=None if trial["failed"] is None else trial["failed_seconds"],
    )
