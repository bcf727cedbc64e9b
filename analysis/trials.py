"""Trials of a study as records. This module defines the attributes that a search writes to its study."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.core.metric_names import MINIMIZED

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# User attributes of a trial.
CONFIG = "config"  # plain dict that the worker trains
STOPPED = "stopped"  # reason for stopping early: PRUNED or TIME_BUDGET
FAILURES = "failures"  # first line of each error
DEVICE = "device"  # device that the latency was measured on
ORIGIN = "origin"  # where the parameters come from; trials without it are of SAMPLER
_EPOCH = "epoch:{:05d}"  # one report: metrics, time_ms, checkpoint
_EPOCH_PATTERN = re.compile(r"epoch:(\d{5,})")

PRUNED = "pruned"
TIME_BUDGET = "time budget"

# Origins of a trial's parameters.
WARM_START, PORTFOLIO, RECIPE = "warm start", "portfolio", "recipe"
MUTATION, SAMPLER = "mutation", "sampler"  # of one of the best trials; by TPE
KNOWN = frozenset({WARM_START, PORTFOLIO, RECIPE})  # tried first, as they are
_FIXED_PARAMS = "fixed_params"  # system attribute in which Optuna keeps the parameters given to ``enqueue_trial``


@dataclass(frozen=True)
class EpochRecord:
    """One report of a trial.

    Attributes:
        epoch: Number of the epoch or fold, from 1.
        metrics: Reported metrics.
        time_ms: Arrival at the driver, in milliseconds since 1970.
        checkpoint: Path or URI of the checkpoint.
    """

    epoch: int
    metrics: dict[str, float]
    time_ms: int
    checkpoint: str

    def attribute(self) -> tuple[str, dict[str, Any]]:
        """Return the name and value of the study attribute that holds this record."""
        value = {"epoch": self.epoch, "metrics": self.metrics, "time_ms": self.time_ms, "checkpoint": self.checkpoint}
        return _EPOCH.format(self.epoch), value


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search.

    Attributes:
        number: Number, from 0.
        state: RUNNING, COMPLETE, PRUNED or FAIL.
        params: Values of the searched parameters.
        config: Training configuration; empty before the trial started.
        epochs: Reports, in order.
        stopped: Reason for stopping before the last epoch, or None.
        failures: First line of each error.
        device: Device that the latency was measured on, or None.
        origin: Where the parameters come from: WARM_START, PORTFOLIO, RECIPE, MUTATION, or SAMPLER.
        soup: Trials whose weights were averaged, if this is not a trial but a model soup of them.
    """

    number: int
    state: str
    params: dict[str, Any]
    config: dict[str, Any]
    epochs: tuple[EpochRecord, ...]
    stopped: str | None
    failures: tuple[str, ...]
    device: str | None = None
    origin: str = SAMPLER
    soup: tuple[int, ...] = ()

    @property
    def trials(self) -> tuple[int, ...]:
        """The numbers of the trials that its weights come from."""
        return self.soup or (self.number,)

    @property
    def name(self) -> str:
        """The name in a sentence, such as ``trial 3`` or ``soup of trials 3, 5``."""
        return f"soup of trials {', '.join(map(str, self.soup))}" if self.soup else f"trial {self.number}"

    @property
    def best(self) -> EpochRecord | None:
        """The report of the best epoch so far, whose checkpoint is not deleted."""
        if not self.epochs:
            return None
        best_epoch = self.epochs[-1].metrics["best_epoch"]
        return next(epoch for epoch in self.epochs if epoch.epoch == best_epoch)

    def objectives(self, metrics: Sequence[str]) -> tuple[float, ...]:
        """Return metrics at the best epoch; NaN for one that was not reported."""
        last = self.epochs[-1].metrics if self.epochs else {}
        return tuple(last.get(f"best_{metric}", math.nan) for metric in metrics)

    @property
    def is_candidate(self) -> bool:
        """True if the trial ran in full or until the time budget ended, so that an ensemble may use it."""
        return bool(self.epochs) and (
            self.state == "COMPLETE" or (self.state == "PRUNED" and self.stopped == TIME_BUDGET)
        )


def network_of(record: TrialRecord) -> str:
    """Return the name of a trial's network: the backbone, after the architecture for a segmentation."""
    parts = (record.config.get("architecture"), record.config.get("backbone", ""))
    return " ".join(str(part) for part in parts if part is not None)


def checkpoints_of(records: Iterable[TrialRecord]) -> list[str]:
    """Return paths or URIs of the trials' best checkpoints; trials without a report are left out."""
    return [record.best.checkpoint for record in records if record.best]


def read_trial(trial: "FrozenTrial") -> TrialRecord:
    """Convert one trial of a study."""
    attributes = trial.user_attrs
    reports = [(int(found[1]), name) for name in attributes if (found := _EPOCH_PATTERN.fullmatch(name))]
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        params=dict(trial.params),
        config=attributes.get(CONFIG, {}),
        epochs=tuple(EpochRecord(**attributes[name]) for _, name in sorted(reports)),
        stopped=attributes.get(STOPPED),
        failures=tuple(attributes.get(FAILURES, ())),
        device=attributes.get(DEVICE),
        # Older versions enqueued only recipes, without this attribute.
        origin=attributes.get(ORIGIN, RECIPE if _FIXED_PARAMS in trial.system_attrs else SAMPLER),
    )


def read_trials(study: "optuna.Study") -> list[TrialRecord]:
    """Return all trials that have started, by number."""
    return [read_trial(trial) for trial in study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]


def ranked(records: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Return the candidates for an ensemble by ``best_<metric>``, best first."""
    return best_first((record for record in records if record.is_candidate), metric)


def best_first(records: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Sort trials that have reported by ``best_<metric>``, best first; equal ones by number."""

    def score(record: TrialRecord) -> tuple[float, int]:
        value = record.epochs[-1].metrics[f"best_{metric}"]
        return (value if metric in MINIMIZED else -value, record.number)

    return sorted(records, key=score)


def pareto_front(records: Iterable[TrialRecord], metrics: Sequence[str]) -> list[TrialRecord]:
    """Return the non-dominated trials among those that ran in full, best in the first metric first.

    A trial is dominated by one that is at least as good in all metrics and better in one. Any number beats NaN.
    """
    complete = [record for record in records if record.state == "COMPLETE"]
    signs = np.array([-1.0 if metric in MINIMIZED else 1.0 for metric in metrics])
    values = np.array([record.objectives(metrics) for record in complete]).reshape(-1, len(metrics)) * signs
    values = np.where(np.isnan(values), -np.inf, values)
    dominated = [((values >= value).all(axis=1) & (values > value).any(axis=1)).any() for value in values]
    order = np.lexsort(values.T[::-1])[::-1]
    return [complete[index] for index in order if not dominated[index]]
