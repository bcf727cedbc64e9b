"""Trials that Tune drops without a word."""

from collections.abc import Iterator, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial

from tuning.study.steering import Steering


class LostTrials(tune.Callback):
    """Puts trials that have ended for Tune alone back among the unfinished ones.

    Where a stopped trial's process is to be reused but does not let go of that trial in time, Tune marks the next one
    as ERROR and tells neither searcher nor scheduler (``TuneController._on_trial_reset``). It goes to another process.
    """

    def __init__(self, steering: Steering):
        self._steering = steering

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Looks for trials that have ended for Tune but not for the study."""
        for trial in live_trials(self._steering, trials):
            if trial.status == RayTrial.ERROR:
                self._steering.unfinished.append(self._steering.live.pop(trial.trial_id))


def live_trials(steering: Steering, trials: Sequence[RayTrial]) -> Iterator[RayTrial]:
    """Tune's own records of the trials that it was given and that have not ended for the study."""
    sought = set(steering.live)
    for trial in reversed(trials):  # they are among the latest
        if not sought:
            return
        if trial.trial_id in sought:
            sought.remove(trial.trial_id)
            yield trial
