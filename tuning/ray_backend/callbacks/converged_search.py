"""Note that more trials of a search are unlikely to help."""

from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from rich.console import Console

from tuning.console import say
from tuning.study.steering import Steering


class ConvergedSearch(tune.Callback):
    """Callback that prints once that a search has converged, unless it ends then anyway."""

    def __init__(self, steering: Steering, console: Console):
        self._steering, self._console = steering, console
        self._printed = steering.stop_when_converged

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as ``StudySearcher`` does."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:  # noqa: ARG002
        """Print the reason if the search has converged."""
        if self._printed or not self._steering.new_trials_remain():
            return
        if reason := self._steering.convergence():
            self._printed = True
            remedy = "to end it here, press Ctrl-C and rerun with --resume --stop-when-converged"
            say(self._console, f"More trials are unlikely to help: {reason}; {remedy}", "yellow")
