"""Progress of a running search: a progress display on a terminal, one line per epoch in a pipe."""

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
from trainables.core.plural import plural
from trainables.worker.report_keys import FAILED
from tuning.console import say
from tuning.study.record_trial import read_record_by_number
from tuning.study.steering import Steering

_MAX_ROWS = 8


class Progress(tune.Callback):
    """Callback that shows the trials of the study.

    Args:
        steering: State of the driver.
        console: Console to print to.
        describe_cost: Function that returns what the search has cost so far, or an empty string.
    """

    def __init__(self, steering: Steering, console: Console, describe_cost: Callable[[], str] = lambda: ""):
        self._steering, self._console, self._describe_cost = steering, console, describe_cost
        self._records = {record.number: record for record in read_trials(steering.study)}
        self._started, self._epochs_before = time.monotonic(), self._epochs_done()
        self._running = 0
        self._live = Live(console=console, get_renderable=self._view, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as ``StudySearcher`` does; a terminal cannot be pickled."""
        return {}

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Show a report."""
        # Not from the study, where the trial that is handed out in advance is RUNNING too.
        self._running = sum(other.status == RayTrial.RUNNING for other in trials)
        record = self._update(trial)
        if FAILED in result:
            self._print_failure(record, "")
        elif not self._console.is_terminal:
            self._print_report(record, result)

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:  # noqa: ARG002
        """Update a trial that has ended."""
        self._update(trial)

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:  # noqa: ARG002
        """Print which trial failed, why, and where the traceback is; nothing if it has not failed."""
        record = self._update(trial)
        if record.state == "FAIL":
            self._print_failure(record, f" (traceback in {trial.storage.trial_fs_path}/error.txt)")

    def _print_failure(self, record: TrialRecord, hint: str) -> None:
        reason = record.failures[-1] if record.failures else "no reason given"
        say(self._console, f"trial {record.number} failed: {reason}{hint}", "red")

    def _update(self, trial: RayTrial) -> TrialRecord:
        """Read one trial from the study; reading all of them would be slow in a search with thousands."""
        record = read_record_by_number(self._steering.study, int(trial.config["number"]))
        self._records[record.number] = record
        return record

    def _print_report(self, record: TrialRecord, result: dict[str, Any]) -> None:
        metric, unit = self._steering.objective.metric, self._steering.unit
        if unit == "fold":  # the value covers all folds so far, and is the best one by definition
            best, seconds = "", f"{result['epoch_seconds']:.1f} s per epoch"
        else:
            best, seconds = f", best {result[f'best_{metric}']:.4f}", f"{result['epoch_seconds']:.1f} s"
        paused = ", paused" if record.number in self._steering.paused else ""
        stopped = f", stopped ({record.stopped})" if record.stopped else paused
        line = (
            f"trial {record.number} {network_of(record)} {unit} {int(result['epoch'])}/{self._steering.epochs}: "
            f"{metric} {result[f'tune/{metric}']:.4f}{best}, {seconds}{stopped}"
        )
        say(self._console, line)

    def _epochs_done(self) -> int:
        return sum(len(record.epochs) for record in self._records.values())

    def _view(self) -> RenderableType:
        steering, records = self._steering, list(self._records.values())
        active = {record.number for record in records if record.state == "RUNNING"} - steering.paused.keys()
        running = [record for record in records if record.number in active and record.epochs]
        ended = [record for record in records if record.number not in active]
        summary = _summary(records, steering, self._running, self._eta(ended))
        return Group(Text(f"{summary}; so far {self.spent()}"), _running_table(running, steering))

    def spent(self) -> str:
        """Return the time since the session started, and the cost of the search."""
        return ", ".join(filter(None, [_duration(time.monotonic() - self._started), self._describe_cost()]))

    def _eta(self, ended: Sequence[TrialRecord]) -> str:
        if not ended:
            return "unknown"
        per_trial = sum(len(record.epochs) for record in ended) / len(ended)
        done = self._epochs_done()
        elapsed = time.monotonic() - self._started
        pace = max(1, done - self._epochs_before) / elapsed
        remaining = max(0.0, per_trial * self._steering.num_samples - done) / pace
        return _duration(min(remaining, max(0.0, self._steering.deadline - time.monotonic())))


def _summary(records: Sequence[TrialRecord], steering: Steering, running: int, eta: str) -> str:
    count = Counter(record.state for record in records)
    # A value on a part of the folds covers other images, so it cannot be compared.
    required = steering.epochs if steering.unit == "fold" else 1
    comparable = [record for record in records if record.epochs and record.epochs[-1].epoch >= required]
    values = [record.epochs[-1].metrics[f"best_{steering.objective.metric}"] for record in comparable]
    best = f"{(min if steering.study.direction.name == 'MINIMIZE' else max)(values):.4f}" if values else "none yet"
    paused = f"{len(steering.paused)} paused, " if steering.paused else ""
    states = f"{count['COMPLETE']} done, {running} running, {paused}{count['PRUNED']} stopped, {count['FAIL']} failed"
    return f"{states} of {plural(steering.num_samples, 'trial')}; best {steering.objective.metric} {best}; ETA {eta}"


def _running_table(running: Sequence[TrialRecord], steering: Steering) -> Table:
    table = Table("trial", "backbone", steering.unit, steering.objective.metric, "best", "s/epoch", box=None)
    for record in running[:_MAX_ROWS]:
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
