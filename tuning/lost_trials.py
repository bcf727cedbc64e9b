"""Trials that Tune drops without a word."""

from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial

from tuning.study import Steering


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
        live = self._steering.live
        sought = set(live)
        for trial in reversed(trials):  # the live ones are among the latest
            if not sought:
                return
            if trial.trial_id in sought:
                sought.remove(trial.trial_id)
                if trial.status == RayTrial.ERROR:
                    self._steering.unfinished.append(live.pop(trial.trial_id))
