"""What a person sees while a search runs: a live view on a terminal, a line an epoch in a pipe."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.trials import TrialRecord, network_of, read_trials
from trainables.worker.trainable import FAILED
from tuning.study.steering import Steering

_SHOWN_RUNNING = 8


class Progress(tune.Callback):
    """Shows the study, which holds everything there is to show."""

    def __init__(self, steering: Steering, console: Console, spent: Callable[[], str] = lambda: ""):
        """``spent`` says what the search has cost so far, or nothing."""
        self._steering, self._console, self._spent = steering, console, spent
        self._records = {record.number: record for record in read_trials(steering.study)}
        self._began, self._epochs_before = time.monotonic(), self._epochs_done()
        self._running = 0
        self._live = Live(console=console, get_renderable=self._view, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its parts for a restore that is never made, and a terminal cannot be pickled."""
        return {}

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Takes note of a report."""
        self._running = sum(other.status == RayTrial.RUNNING for other in trials)  # the study counts one asked ahead
        record = self._take(trial)
        if FAILED in result:
            self._failed(record, "")
        elif not self._console.is_terminal:
            self._line(record, result)

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:  # noqa: ARG002
        """Takes note of an end."""
        self._take(trial)

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:  # noqa: ARG002
        """Says which trial failed, why, and where the traceback is."""
        self._failed(self._take(trial), f" (traceback in {trial.storage.trial_fs_path}/error.txt)")

    def _failed(self, record: TrialRecord, hint: str) -> None:
        reason = record.failures[-1] if record.failures else "no reason given"
        message = f"trial {record.number} failed: {reason}{hint}"
        self._console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)

    def _take(self, trial: RayTrial) -> TrialRecord:
        """Reads the trial from the study, and no other: a search may have thousands."""
        record = self._steering.read(int(trial.config["number"]))
        self._records[record.number] = record
        return record

    def _line(self, record: TrialRecord, result: dict[str, Any]) -> None:
        metric = self._steering.objective.metric
        stopped = f", stopped ({record.stopped})" if record.stopped else ""
        unit, best, of_what = self._steering.unit, f", best {result[f'best_{metric}']:.4f}", ""
        if unit == "fold":  # of all folds so far, which is the one figure there is
            best, of_what = "", " an epoch"
        self._console.print(
            f"trial {record.number} {network_of(record)} {unit} {int(result['epoch'])}/{self._steering.epochs}: "
            f"{metric} {result[f'tune/{metric}']:.4f}{best}, "
            f"{result['epoch_seconds']:.1f} s{of_what}{stopped}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def _epochs_done(self) -> int:
        return sum(len(record.epochs) for record in self._records.values())

    def _view(self) -> RenderableType:
        steering, records = self._steering, list(self._records.values())
        running = [record for record in records if record.state == "RUNNING" and record.epochs]
        ended = [record for record in records if record.state != "RUNNING"]
        summary = _summary(records, steering, self._running, self._eta(ended))
        return Group(Text(f"{summary}; so far {self.spent()}"), _running_table(running, steering))

    def spent(self) -> str:
        """The time since it began, and what that has cost."""
        return ", ".join(filter(None, [_duration(time.monotonic() - self._began), self._spent()]))

    def _eta(self, ended: Sequence[TrialRecord]) -> str:
        if not ended:
            return "unknown"
        per_trial = sum(len(record.epochs) for record in ended) / len(ended)
        done = self._epochs_done()
        elapsed = time.monotonic() - self._began
        pace = max(1, done - self._epochs_before) / elapsed
        left = max(0.0, per_trial * self._steering.num_samples - done) / pace
        return _duration(min(left, max(0.0, self._steering.deadline - time.time())))


def _summary(records: Sequence[TrialRecord], steering: Steering, running: int, eta: str) -> str:
    count = Counter(record.state for record in records)
    # Of fewer folds a figure is of other images, and no rival.
    least = steering.epochs if steering.unit == "fold" else 1
    rivals = [record for record in records if record.epochs and record.epochs[-1].epoch >= least]
    values = [record.epochs[-1].metrics[f"best_{steering.objective.metric}"] for record in rivals]
    best = f"{(min if steering.study.direction.name == 'MINIMIZE' else max)(values):.4f}" if values else "none yet"
    states = f"{count['COMPLETE']} done, {running} running, {count['PRUNED']} stopped, {count['FAIL']} failed"
    return f"{states} of {steering.num_samples} trials; best {steering.objective.metric} {best}; ETA {eta}"


def _running_table(running: Sequence[TrialRecord], steering: Steering) -> Table:
    table = Table("trial", "backbone", steering.unit, steering.objective.metric, "best", "s/epoch", box=None)
    for record in running[:_SHOWN_RUNNING]:
        last = record.epochs[-1]
        table.add_row(
            str(record.number),
            Text(network_of(record)),
            f"{last.epoch}/{steering.epochs}",
            f"{last.metrics[f'tune/{steering.objective.metric}']:.4f}",
            f"{last.metrics[f'best_{steering.objective.metric}']:.4f}",
            f"{last.metrics['epoch_seconds']:.1f}",
        )
    return table


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
