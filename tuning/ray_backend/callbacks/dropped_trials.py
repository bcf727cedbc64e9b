"""Recovery of trials that Tune drops silently."""

from collections.abc import Iterator, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial

from tuning.study.steering import Steering


class DroppedTrials(tune.Callback):
    """Callback that returns dropped trials to the unfinished ones, so that another process runs them.

    If a stopped trial does not release its process in time, Tune marks the trial that was to reuse the process as ERROR
    without informing the searcher or the scheduler (``TuneController._on_trial_reset``).
    """

    def __init__(self, steering: Steering):
        self._steering = steering

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as ``StudySearcher`` does."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Find trials that have ended for Tune but not for the study."""
        for trial in live_trials(self._steering, trials):
            if trial.status == RayTrial.ERROR:
                self._steering.unfinished.append(self._steering.live.pop(trial.trial_id))


def live_trials(steering: Steering, trials: Sequence[RayTrial]) -> Iterator[RayTrial]:
    """Yield Tune's trials that have not ended for the study, latest first."""
    missing = set(steering.live)
    for trial in reversed(trials):  # live trials are among the latest
        if not missing:
            return
        if trial.trial_id in missing:
            missing.remove(trial.trial_id)
            yield trial
