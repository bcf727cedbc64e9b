"""The study's trials as records. This module owns the layout of what a search writes into its study."""

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
CONFIG = "config"  # the plain dict that was handed out
STOPPED = "stopped"  # why it was stopped early: PRUNED or TIME_BUDGET
FAILURES = "failures"  # first lines of the errors it met
DEVICE = "device"  # on which its latency was measured
_EPOCH = "epoch:{:05d}"  # one report: metrics, time_ms, checkpoint
_EPOCH_PATTERN = re.compile(r"epoch:\d{5}")

PRUNED = "pruned"
TIME_BUDGET = "time budget"


@dataclass(frozen=True)
class EpochRecord:
    """One report of a trial.

    Attributes:
        epoch: From 1.
        metrics: All that was reported.
        time_ms: When it reached the driver, in milliseconds since 1970.
        checkpoint: Path or URI of the checkpoint written with it.
    """

    epoch: int
    metrics: dict[str, float]
    time_ms: int
    checkpoint: str

    def attribute(self) -> tuple[str, dict[str, Any]]:
        """The name and value of the study attribute that holds this record."""
        value = {"epoch": self.epoch, "metrics": self.metrics, "time_ms": self.time_ms, "checkpoint": self.checkpoint}
        return _EPOCH.format(self.epoch), value


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search, as the study holds it.

    Attributes:
        number: From 0.
        state: RUNNING, COMPLETE, PRUNED or FAIL.
        params: What was searched.
        config: What was trained; empty before the trial was handed out.
        epochs: Its reports, in order.
        stopped: Why it was stopped before its last epoch, or None.
        failures: First lines of the errors it met.
        device: On which its latency was measured, or None.
    """

    number: int
    state: str
    params: dict[str, Any]
    config: dict[str, Any]
    epochs: tuple[EpochRecord, ...]
    stopped: str | None
    failures: tuple[str, ...]
    device: str | None = None

    @property
    def best(self) -> EpochRecord | None:
        """The report of its best epoch so far, whose checkpoint is kept."""
        if not self.epochs:
            return None
        best_epoch = self.epochs[-1].metrics["best_epoch"]
        return next(epoch for epoch in self.epochs if epoch.epoch == best_epoch)

    def objectives(self, metrics: Sequence[str]) -> tuple[float, ...]:
        """Its values of some metrics at its best epoch; NaN where it did not report one."""
        last = self.epochs[-1].metrics if self.epochs else {}
        return tuple(last.get(f"best_{metric}", math.nan) for metric in metrics)

    @property
    def is_candidate(self) -> bool:
        """Whether an ensemble may use it: it ran in full, or until the time was up."""
        return bool(self.epochs) and (
            self.state == "COMPLETE" or (self.state == "PRUNED" and self.stopped == TIME_BUDGET)
        )


def network_of(record: TrialRecord) -> str:
    """The network of a trial in words: its backbone, of a segmentation below its architecture."""
    parts = (record.config.get("architecture"), record.config.get("backbone", ""))
    return " ".join(str(part) for part in parts if part is not None)


def checkpoints_of(records: Iterable[TrialRecord]) -> list[str]:
    """Return paths or URIs of the trials' best checkpoints; trials without a report are left out."""
    return [record.best.checkpoint for record in records if record.best]


def read_trial(trial: "FrozenTrial") -> TrialRecord:
    """Folds one trial of a study."""
    attributes = trial.user_attrs
    epochs = sorted(name for name in attributes if _EPOCH_PATTERN.fullmatch(name))
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        params=dict(trial.params),
        config=attributes.get(CONFIG, {}),
        epochs=tuple(EpochRecord(**attributes[name]) for name in epochs),
        stopped=attributes.get(STOPPED),
        failures=tuple(attributes.get(FAILURES, ())),
        device=attributes.get(DEVICE),
    )


def read_trials(study: "optuna.Study") -> list[TrialRecord]:
    """All trials that were handed out, by number."""
    return [read_trial(trial) for trial in study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]


def ranked(records: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """The candidates by ``best_<metric>``, best first."""
    return best_first((record for record in records if record.is_candidate), metric)


def best_first(records: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Trials that have reported, by ``best_<metric>``."""

    def score(record: TrialRecord) -> tuple[float, int]:
        value = record.epochs[-1].metrics[f"best_{metric}"]
        return (value if metric in MINIMIZED else -value, record.number)

    return sorted(records, key=score)


def pareto_front(records: Iterable[TrialRecord], metrics: Sequence[str]) -> list[TrialRecord]:
    """The trials that ran in full and that no other such trial beats in all metrics, best by the first metric first.

    One is beaten by another that is at least as good in all and better in one. NaN is beaten by any number.
    """
    complete = [record for record in records if record.state == "COMPLETE"]
    signs = np.array([-1.0 if metric in MINIMIZED else 1.0 for metric in metrics])
    values = np.array([record.objectives(metrics) for record in complete]).reshape(-1, len(metrics)) * signs
    values = np.where(np.isnan(values), -np.inf, values)
    beaten = [((values >= value).all(axis=1) & (values > value).any(axis=1)).any() for value in values]
    order = np.lexsort(values.T[::-1])[::-1]
    return [complete[index] for index in order if not beaten[index]]
