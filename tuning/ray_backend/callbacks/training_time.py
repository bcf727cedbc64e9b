"""Training time of a search, for ``--time-budget``."""

import time
from typing import Any

import optuna
from ray import tune
from ray.tune.experiment import Trial as RayTrial

from tuning.study.attributes import read_training_time, save_training_time

_SAVE_S = 60.0


class TrainingTime(tune.Callback):
    """Counter of the time for which drivers of the search have run its trials. A killed driver loses its last minute.

    The time for which the computer was suspended does not count.

    Args:
        study: Study that stores the seconds across sessions.
    """

    def __init__(self, study: optuna.Study):
        self._study, self._before = study, read_training_time(study)
        self._started = self._saved = time.monotonic()  # the clock of the deadline

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as ``StudySearcher`` does."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Save the time every minute."""
        if time.monotonic() > self._saved + _SAVE_S:
            self._save()

    def on_experiment_end(self, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Save the final time."""
        self._save()

    def _save(self) -> None:
        self._saved = time.monotonic()
        save_training_time(self._study, self._before + self._saved - self._started)
