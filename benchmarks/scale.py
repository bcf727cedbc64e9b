"""How far one driver goes: the real searcher, scheduler and journal steer thousands of trials in virtual time.

Training is simulated (``benchmarks.synthetic``, its epochs of 0.4 to 2.5 s ``--stretch`` times as long). What the
driver does is timed as it happens, in CPU seconds, and passes in virtual time too, one thing after another as in
Tune's loop: where reports and questions come faster than they are dealt with, GPUs wait. To each report is added what
searcher and scheduler do not do, Tune's own loop and MLflow's outbox, which ``results/driver.json`` has. What a disk
takes to keep the journal is not in it; ``TMPDIR=/dev/shm`` spares the wait for it.

Measured: how busy the GPUs are, and what a question and a report cost by the number of trials, with a parabola through
each. From these: how many GPUs one driver keeps busy, up to 20,000 trials. Tried, too: with ``--history N``
TPE sees the last N trials alone; ``--shards N`` are as many searches of an Nth of the trials on an Nth of the GPUs,
whose drivers know nothing of each other; and ``--study-storage`` names a database, which drivers wait for, so that the
wall clock counts in place of the CPU's.
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
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from rich.console import Console
from scipy.optimize import nnls

from benchmarks.record import RESULTS, Row, record
from benchmarks.simulation import Report, Simulation, Train, Trial, Worker
from benchmarks.synthetic import suggest, trainable, transfer
from trainables.core.metric_names import Objective
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.study.open_study import open_study
from tuning.study.open_study import study_storage as storage_of
from tuning.study.single_writer_storage import become_single_writer
from tuning.study.steering import Steering

METRIC = "balanced_accuracy"
REPORTS_OF_DRIVER = 5  # a trial, in benchmarks.driver
BUSY = 0.7  # the share of its time that a driver may work: beyond, what waits for it piles up
AHEAD = (1_000, 5_000, 20_000)  # trials
FARTHEST = 4  # times as many as were simulated


def main(
    trials: Annotated[int, typer.Option(min=100)] = 5000,
    gpus: Annotated[int, typer.Option(min=1, help="Trials at once, one a GPU.")] = 1600,
    epochs: Annotated[int, typer.Option(min=2)] = 15,
    stretch: Annotated[float, typer.Option(min=0.1)] = 60.0,
    history: Annotated[int | None, typer.Option(min=1, help="TPE sees so many trials, the latest.")] = None,
    shards: Annotated[int, typer.Option(min=1, help="Searches that share trials and GPUs.")] = 1,
    study_storage: Annotated[str | None, typer.Option(help="A database; default: a journal.")] = None,
) -> None:
    """Simulates one search, or shards of it, and records what that says of larger ones."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    beside = _beside_the_study(epochs)
    runs = [
        simulate(trials // shards, gpus // shards, epochs, stretch, beside, history, study_storage, seed)
        for seed in range(shards)
    ]
    run = max(runs, key=lambda run: run.seconds)  # all have ended when the last has
    ask, report = curve(run.asks), curve(run.reports)
    epoch_seconds = run.trained / len(run.reports)
    asks_a_report = len(run.asks) / len(run.reports)

    def carried(count: int) -> float:
        """GPUs that keep all drivers busy by ``BUSY`` when there are so many trials."""
        seconds = beside + report(count / shards) + asks_a_report * ask(count / shards)
        return shards * BUSY * epoch_seconds / seconds

    ahead = [count for count in AHEAD if count <= FARTHEST * trials]
    tried = {"history": history, "shards": shards if shards > 1 else None, "database": study_storage and ""}
    name = "_".join(["scale", *(f"{what}{value}" for what, value in tried.items() if value is not None)])
    rows = [
        Row(f"share of the time that {gpus} GPUs train ({trials} trials)", run.busy, "-", None),
        Row("share of the time that a driver works", run.worked / run.seconds, "-", None),
        Row("hours", run.seconds / 3600, "-", None),
        *[Row(f"GPUs that are kept busy at {count} trials", carried(count), "-", None) for count in ahead],
        *[Row(f"a question at {count} trials, ms", 1000 * ask(count / shards), "-", None) for count in ahead],
        *[
            Row(f"a report to the study at {count} trials, ms", 1000 * report(count / shards), "-", None)
            for count in ahead
        ],
    ]
    details = {
        "epochs": epochs, "epoch, s": epoch_seconds, "history": history, "reports": len(run.reports),
        "a report beside the study, ms": 1000 * beside, "questions a report": asks_a_report,
        "question, ms, by trials": points(run.asks), "report, ms, by trials": points(run.reports),
        "journal, bytes a trial": run.journal / len(run.asks), "best of each": [run.best for run in runs],
    }  # fmt: skip
    record(name, rows, details)


@dataclass
class Run:
    """One simulated search.

    Attributes:
        asks: How many trials there were, and the seconds that a question took.
        reports: The same of a report.
        beside: Seconds that a report takes beside these.
        clock: By which the driver's work is timed.
        worked: Seconds that the driver has worked.
        trained: Seconds of training, of all GPUs together.
        seconds: From the first question to the last report, in virtual time.
        busy: The share of that time which the GPUs trained.
        journal: Bytes of the study.
        best: The best value of a trial that ran in full.
    """

    beside: float
    clock: Callable[[], float]
    asks: list[tuple[int, float]] = field(default_factory=list)
    reports: list[tuple[int, float]] = field(default_factory=list)
    worked: float = 0.0
    trained: float = 0.0
    seconds: float = 0.0
    busy: float = 0.0
    journal: int = 0
    best: float = 0.0


def simulate(
    trials: int,
    gpus: int,
    epochs: int,
    stretch: float,
    beside: float,
    history: int | None = None,
    url: str | None = None,
    seed: int = 0,
) -> Run:
    """Runs a search of so many trials on so many GPUs; each report costs ``beside`` seconds more than it does here."""
    run = Run(beside, time.perf_counter if url else time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(storage_of(Path(folder), url), f"scale {time.time()}", Objective(METRIC), epochs, seed)
        become_single_writer(study)
        if history is not None:
            study.sampler = _Recent(history, multivariate=True, group=True, constant_liar=True, seed=seed)
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
    run.busy = run.trained / (gpus * run.seconds)
    return run


def medians(costs: Sequence[tuple[int, float]]) -> np.ndarray:
    """(2, 20): number of trials and seconds, the medians of twenty parts, so that a hiccup moves nothing."""
    parts = np.array_split(np.array(sorted(costs)), 20)
    return np.array([np.median(part, axis=0) for part in parts]).T


def curve(costs: Sequence[tuple[int, float]]) -> np.poly1d:
    """Seconds by the number of trials: a parabola through the medians, none of whose terms is below 0.

    Not what was measured at that number: the first questions, as many as there are GPUs, come before any answer and
    are cheap.
    """
    counts, seconds = medians(costs)
    of_last, _ = nnls(np.vander(counts / counts[-1], 3), seconds)
    return np.poly1d(of_last / counts[-1] ** np.array([2, 1, 0]))


def points(costs: Sequence[tuple[int, float]]) -> dict[int, float]:
    """What it goes through, in milliseconds."""
    return {round(count): round(1000 * seconds, 3) for count, seconds in medians(costs).T}


def _beside_the_study(epochs: int) -> float:
    """Seconds of a report that are Tune's and MLflow's: those of the driver's benchmark less what is simulated here."""
    (row, *_), trials = json.loads((RESULTS / "driver.json").read_text())["rows"], 1000
    here = simulate(trials, 16, epochs, 60.0, 0.0)
    ask, report = (float(np.mean([seconds for _, seconds in costs])) for costs in (here.asks, here.reports))
    return max(row["measured"] / 1000 - report - ask / REPORTS_OF_DRIVER, 0.0)


def _stretched(train: Train, times: float, run: Run) -> Train:
    """The same training, so many times as long."""

    def stretched(config: dict[str, Any]) -> Worker:
        for seconds, outcome in train(config):
            run.trained += seconds * times
            yield seconds * times, outcome

    return stretched


class _TimedSearcher(StudySearcher):
    """Notes what each question takes."""

    def __init__(self, steering: Steering, run: Run):
        super().__init__(steering)
        self._run, self._count = run, 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        started = self._run.clock()
        given = super().suggest(trial_id)
        seconds = self._run.clock() - started
        self._run.worked += seconds
        if isinstance(given, dict):
            self._run.asks.append((self._count, seconds))
            self._count += 1
        return given

    def on_trial_complete(self, trial_id: str, result: Report | None = None, error: bool = False) -> None:
        started = self._run.clock()
        super().on_trial_complete(trial_id, result, error)
        self._run.worked += self._run.clock() - started


class _TimedScheduler(StudyScheduler):
    """Notes what each report takes."""

    def __init__(self, steering: Steering, run: Run):
        super().__init__(steering)
        self._run = run

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Report) -> str:
        started = self._run.clock()
        decision = super().on_trial_result(tune_controller, trial, result)
        seconds = self._run.clock() - started
        self._run.reports.append((len(self._run.asks), seconds))
        self._run.worked += seconds + self._run.beside
        return decision


class _Recent(TPESampler):
    """TPE on the latest trials alone."""

    def __init__(self, history: int, **options: Any):
        super().__init__(**options)
        self._history = history

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        return super().infer_relative_search_space(_Window(study, self._history), trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        return super().sample_relative(_Window(study, self._history), trial, search_space)


class _Window:
    """A study that shows its latest trials alone."""

    def __init__(self, study: optuna.Study, history: int):
        self._study, self._history = study, history

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        return self._study.get_trials(*args, **options)[-self._history :]

    def _get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        return self._study._get_trials(*args, **options)[-self._history :]


if __name__ == "__main__":
    typer.run(main)
