"""Detection of a search whose trials all wait for resources."""

import time
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from rich.console import Console

from tuning.console import say
from tuning.ray_backend.callbacks.dropped_trials import live_trials
from tuning.ray_backend.resources import Resources
from tuning.study.steering import Steering

_PATIENCE_S = 120.0  # time until the first message; it is repeated after five times as long


class StalledSearch(tune.Callback, tune.Stopper):
    """Callback that prints the missing resources if no trial can run, and ends a search that is complete.

    At the deadline, ``StudyScheduler`` ends the trials that wait. Tune itself would wait for them forever.
    """

    def __init__(self, steering: Steering, resources: Resources, console: Console):
        self._steering, self._resources, self._console = steering, resources, console
        self._stalled_since = time.monotonic()
        self._next_message = self._stalled_since + _PATIENCE_S

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as ``StudySearcher`` does."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Check whether any trial is running."""
        steering, now = self._steering, time.monotonic()
        if not steering.live or any(trial.status != RayTrial.PENDING for trial in live_trials(steering, trials)):
            self._stalled_since, self._next_message = now, now + _PATIENCE_S
        elif now >= self._next_message:
            self._next_message = now + 5 * _PATIENCE_S
            message = (
                f"no trial has run for {(now - self._stalled_since) / 60:.0f} min: either their workers are still "
                f"starting, or no node has the {self._resources.describe()} free that each needs; `ray status` shows "
                "what is in use and why no node is added"
            )
            say(self._console, message, "yellow")

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return False: the scheduler stops single trials."""
        return False

    def stop_all(self) -> bool:
        """Return True if the search is complete."""
        return self._steering.is_complete()
