"""Capacity of one driver: the real searcher, scheduler and study steer thousands of trials in virtual time.

Training is simulated by ``benchmarks.search_quality.synthetic``, with epochs of 0.4 to 2.5 s that are ``--stretch``
times as long. The driver's work is timed in CPU seconds and passes in virtual time, too. It is sequential, as in Tune's
control loop: if suggestions and reports arrive faster than they are handled, GPUs wait. Each report also costs the time
of Tune's control loop and the MLflow outbox, which are not simulated but taken from ``results/steering.json``. Disk
writes of the journal are not counted; ``TMPDIR=/dev/shm`` makes the run faster without changing its result.

Measured are the utilisation of the GPUs and the cost of a suggestion and of a report by number of trials, with a
parabola fitted to each. From these follows how many GPUs one driver can keep busy, for up to 20,000 trials.

Variants: with ``--history N``, TPE sees only the last N trials. With ``--shards N``, N independent searches divide the
trials and GPUs among them. With ``--study-storage``, the study is in a database, for which the driver waits, so wall
time is measured instead of CPU time.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from rich.console import Console
from scipy.optimize import nnls

from benchmarks.driver.recent_history import RecentTPESampler
from benchmarks.record import RESULTS, Row, record
from benchmarks.search_quality.simulation import Report, Simulation, Train, Trial, Worker
from benchmarks.search_quality.synthetic import suggest, trainable, transfer
from trainables.core.metric_names import Objective
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study
from tuning.study.storage.open_study import study_storage as storage_of
from tuning.study.storage.single_writer_storage import become_single_writer

METRIC = "balanced_accuracy"
DRIVER_TRIALS, DRIVER_REPORTS = 1000, 5  # trials of benchmarks.driver.steering, and reports of each
MOST_LOAD = 0.7  # share of its time that a driver may work; beyond it, waiting requests pile up
TRIAL_COUNTS = (1_000, 5_000, 20_000)
EXTRAPOLATION = 4  # largest factor between a number of trials above and the simulated one


def main(
    trials: Annotated[int, typer.Option(min=100, help="Number of trials.")] = 5000,
    gpus: Annotated[int, typer.Option(min=1, help="Number of concurrent trials, one per GPU.")] = 1600,
    epochs: Annotated[int, typer.Option(min=2, help="Epochs of a full trial.")] = 15,
    stretch: Annotated[float, typer.Option(min=0.1, help="Factor on the length of simulated epochs.")] = 60.0,
    history: Annotated[int | None, typer.Option(min=1, help="Number of latest trials that TPE sees.")] = None,
    shards: Annotated[int, typer.Option(min=1, help="Number of searches that divide trials and GPUs.")] = 1,
    study_storage: Annotated[str | None, typer.Option(help="Database URL. Default: a journal file.")] = None,
) -> None:
    """Simulate a search, or shards of it, and record the capacity of its driver."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    overhead = _overhead_per_report(epochs)
    runs = [
        simulate(trials // shards, gpus // shards, epochs, stretch, overhead, history, study_storage, seed)
        for seed in range(shards)
    ]
    run = max(runs, key=lambda run: run.seconds)  # the shards end when the last one does
    suggestion, report = fitted(run.suggestions), fitted(run.reports)
    epoch_seconds = run.trained / len(run.reports)
    suggestions_per_report = len(run.suggestions) / len(run.reports)

    def capacity(count: int) -> float:
        """Return the number of GPUs that use ``MOST_LOAD`` of all drivers' time, with ``count`` trials in all."""
        seconds = overhead + report(count / shards) + suggestions_per_report * suggestion(count / shards)
        return shards * MOST_LOAD * epoch_seconds / seconds

    counts = [count for count in TRIAL_COUNTS if count <= EXTRAPOLATION * trials]
    variants = {"history": history, "shards": shards if shards > 1 else None, "database": study_storage and ""}
    name = "_".join(["scale", *(f"{variant}{value}" for variant, value in variants.items() if value is not None)])
    measured = {
        f"utilisation of {gpus} GPUs ({trials} trials)": run.utilisation,
        "load of a driver": run.worked / run.seconds,
        "hours": run.seconds / 3600,
        **{f"GPUs kept busy at {count} trials": capacity(count) for count in counts},
        **{f"suggestion at {count} trials, ms": 1000 * suggestion(count / shards) for count in counts},
        **{f"report to the study at {count} trials, ms": 1000 * report(count / shards) for count in counts},
    }
    details = {
        "epochs": epochs, "epoch, s": epoch_seconds, "history": history, "reports": len(run.reports),
        "overhead per report, ms": 1000 * overhead, "suggestions per report": suggestions_per_report,
        "suggestion, ms, by trials": points(run.suggestions), "report, ms, by trials": points(run.reports),
        "journal, bytes per trial": run.journal / len(run.suggestions), "best of each": [run.best for run in runs],
    }  # fmt: skip
    record(name, [Row(measurement, value, "-", None) for measurement, value in measured.items()], details)


@dataclass
class Run:
    """One simulated search.

    Attributes:
        overhead: Seconds per report that are added to the measured ones.
        clock: Clock for the driver's work.
        suggestions: Number of earlier trials, and seconds, of each suggestion.
        reports: Number of trials, and seconds, of each report.
        worked: Seconds that the driver worked.
        trained: Seconds of training, summed over GPUs.
        seconds: Virtual seconds from start to end.
        utilisation: Share of the time that the GPUs trained.
        journal: Size of the study in bytes.
        best: Best value of a trial that ran in full.
    """

    overhead: float
    clock: Callable[[], float]
    suggestions: list[tuple[int, float]] = field(default_factory=list)
    reports: list[tuple[int, float]] = field(default_factory=list)
    worked: float = 0.0
    trained: float = 0.0
    seconds: float = 0.0
    utilisation: float = 0.0
    journal: int = 0
    best: float = 0.0


def simulate(
    trials: int,
    gpus: int,
    epochs: int,
    stretch: float,
    overhead: float,
    history: int | None = None,
    url: str | None = None,
    seed: int = 0,
) -> Run:
    """Simulate a search.

    Args:
        trials: Number of trials.
        gpus: Number of concurrent trials.
        epochs: Epochs of a full trial.
        stretch: Factor on the length of simulated epochs.
        overhead: Seconds per report that are added to the measured ones.
        history: Number of latest trials that TPE sees; None for all.
        url: Database for the study; None for a journal file.
        seed: Random seed of the search.
    """
    run = Run(overhead, time.perf_counter if url else time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(storage_of(Path(folder), url), f"scale {time.time()}", Objective(METRIC), epochs, seed)
        become_single_writer(study)
        if history is not None:
            study.sampler = RecentTPESampler(history, multivariate=True, group=True, constant_liar=True, seed=seed)
        steering = Steering(study, Objective(METRIC), epochs, trials, None, math.inf, suggest, folder)
        train = _stretched(trainable(transfer, METRIC, 0, epochs, raises=False), stretch, run)
        simulation = Simulation(
            _TimedSearcher(steering, run), _TimedScheduler(steering, run), train, gpus, storage=folder,
            clock=lambda: run.worked,
        )  # fmt: skip
        for done, _ in enumerate(simulation.events()):
            if done % 5000 == 0:
                Console(stderr=True).print(f"{done} reports, {len(simulation.trials)} trials, {simulation.time:,.0f} s")
        run.journal = sum(file.stat().st_size for file in Path(folder).glob("*.journal"))
        run.best = study.best_value
    run.seconds = simulation.time
    run.utilisation = run.trained / (gpus * run.seconds)
    return run


def medians(costs: Sequence[tuple[int, float]]) -> np.ndarray:
    """Return (2, 20) numbers of trials and seconds: medians of twenty parts, which are robust to outliers."""
    parts = np.array_split(np.array(sorted(costs)), 20)
    return np.array([np.median(part, axis=0) for part in parts]).T


def fitted(costs: Sequence[tuple[int, float]]) -> np.poly1d:
    """Fit a parabola with non-negative coefficients to the medians of seconds by number of trials.

    The cost at a number of trials is not read off directly: the first suggestions, one per GPU, precede all results and
    are cheap.
    """
    counts, seconds = medians(costs)
    scaled, _ = nnls(np.vander(counts / counts[-1], 3), seconds)
    return np.poly1d(scaled / counts[-1] ** np.array([2, 1, 0]))


def points(costs: Sequence[tuple[int, float]]) -> dict[int, float]:
    """Return the medians as milliseconds by number of trials."""
    return {round(count): round(1000 * seconds, 3) for count, seconds in medians(costs).T}


def _overhead_per_report(epochs: int) -> float:
    """Return the seconds per report of Tune and MLflow: ``benchmarks.driver.steering`` minus what is simulated here."""
    row = json.loads((RESULTS / "steering.json").read_text())["rows"][0]
    run = simulate(DRIVER_TRIALS, 16, epochs, 60.0, 0.0)
    suggestion, report = (float(np.mean([seconds for _, seconds in costs])) for costs in (run.suggestions, run.reports))
    return max(row["measured"] / 1000 - report - suggestion / DRIVER_REPORTS, 0.0)


def _stretched(train: Train, factor: float, run: Run) -> Train:
    """Return the training with epochs that take ``factor`` times as long."""

    def stretched(config: dict[str, Any]) -> Worker:
        for seconds, outcome in train(config):
            run.trained += seconds * factor
            yield seconds * factor, outcome

    return stretched


class _TimedSearcher(StudySearcher):
    """A searcher that records the time of each suggestion."""

    def __init__(self, steering: Steering, run: Run):
        super().__init__(steering)
        self._run = run

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        started = self._run.clock()
        suggestion = super().suggest(trial_id)
        seconds = self._run.clock() - started
        self._run.worked += seconds
        if isinstance(suggestion, dict) and not suggestion["resume_from"]:  # not the continuation of a paused trial
            self._run.suggestions.append((len(self._run.suggestions), seconds))
        return suggestion

    def on_trial_complete(self, trial_id: str, result: Report | None = None, error: bool = False) -> None:
        started = self._run.clock()
        super().on_trial_complete(trial_id, result, error)
        self._run.worked += self._run.clock() - started


class _TimedScheduler(StudyScheduler):
    """A scheduler that records the time of each report."""

    def __init__(self, steering: Steering, run: Run):
        super().__init__(steering)
        self._run = run

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Report) -> str:
        started = self._run.clock()
        decision = super().on_trial_result(tune_controller, trial, result)
        seconds = self._run.clock() - started
        self._run.reports.append((len(self._run.suggestions), seconds))
        self._run.worked += seconds + self._run.overhead
        return decision


if __name__ == "__main__":
    typer.run(main)
