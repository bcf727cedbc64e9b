"""GPU hours of a search and their cost."""

import threading
import time
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial

_REFRESH_S = 5.0
_SAVE_S = 60.0
_HOURS = "gpu_hours"


class GpuHours(tune.Callback):
    """Counter of GPU hours: all GPUs of the cluster, busy or idle, while a driver of the search is running.

    Args:
        study: Study that stores the hours across sessions. A killed driver loses its last minute.
        price: Price of one GPU hour, or None.
    """

    def __init__(self, study: optuna.Study, price: float | None = None):
        self._study, self._price = study, price
        self._hours = float(study.user_attrs.get(_HOURS, 0.0))
        self._gpus, self._refreshed = _cluster_gpus(), time.monotonic()
        self._saved = self._refreshed
        self._lock = threading.Lock()  # the progress display asks from a thread of its own

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as ``StudySearcher`` does."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Update the count, and save it every minute."""
        hours = self.hours()
        if hours and time.monotonic() > self._saved + _SAVE_S:
            self._study.set_user_attr(_HOURS, hours)
            self._saved = time.monotonic()

    def on_experiment_end(self, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Save the final count."""
        if hours := self.hours():
            self._study.set_user_attr(_HOURS, hours)

    def hours(self) -> float:
        """Return the GPU hours so far. Nodes that join or leave are noticed a few seconds late."""
        with self._lock:
            now = time.monotonic()
            if now > self._refreshed + _REFRESH_S:
                self._hours += self._gpus * (now - self._refreshed) / 3600
                self._gpus, self._refreshed = _cluster_gpus(), now
            return self._hours + self._gpus * (now - self._refreshed) / 3600

    def describe(self) -> str:
        """Return the hours and, if the price is known, the cost; an empty string without GPUs."""
        hours = self.hours()
        cost = "" if self._price is None else f", {hours * self._price:.2f} at {self._price:g} each"
        return f"{hours:.2f} GPU hours{cost}" if hours or self._gpus else ""


def _cluster_gpus() -> float:
    return sum(float(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"])
