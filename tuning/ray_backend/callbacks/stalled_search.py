"""Trials that wait for machines which do not come."""

import time
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from rich.console import Console

from tuning.ray_backend.callbacks.dropped_trials import live_trials
from tuning.ray_backend.resources import Resources
from tuning.study.steering import Steering

_PATIENCE_S = 120.0  # then it is said, and again after five times as long


class Waiting(tune.Callback, tune.Stopper):
    """Says what is waited for where no trial can run, and ends the search when its time is up meanwhile.

    Tune itself would wait for ever: a trial is stopped at its next report, and those that never run report nothing.
    """

    def __init__(self, steering: Steering, resources: Resources, console: Console):
        self._steering, self._resources, self._console = steering, resources, console
        self._since = self._told_next = time.monotonic()
        self._told_next += _PATIENCE_S

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Looks whether anything runs."""
        steering, now = self._steering, time.monotonic()
        if not steering.live or any(trial.status != RayTrial.PENDING for trial in live_trials(steering, trials)):
            self._since, self._told_next = now, now + _PATIENCE_S
        elif time.time() >= steering.deadline:
            steering.unfinished += steering.live.values()
            steering.live.clear()
            steering.run_out()
        elif now >= self._told_next:
            self._told_next = now + 5 * _PATIENCE_S
            self._console.print(
                f"no trial has run for {(now - self._since) / 60:.0f} min: each needs {self._resources.told()} on one "
                "node, and none is free; `ray status` says what is there, and why no other comes",
                style="yellow",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Stops no trial: the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Whether nothing is left to do."""
        return self._steering.is_complete()
