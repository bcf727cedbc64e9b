"""How long a search has had GPUs, and what that has cost."""

import time
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial

_REFRESH_S = 5.0
_NOTE_S = 60.0
_HOURS = "gpu_hours"


class GpuHours(tune.Callback):
    """GPU hours for which the cluster has had its nodes, busy or not, while a driver of this search was there.

    Args:
        study: Keeps the hours from session to session; a killed one loses its last minute.
        price: Of one hour, or None.
    """

    def __init__(self, study: optuna.Study, price: float | None = None):
        self._study, self._price = study, price
        self._hours = float(study.user_attrs.get(_HOURS, 0.0))
        self._gpus, self._asked = _gpus(), time.monotonic()
        self._noted = self._asked

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Counts, whether or not anybody looks, and notes it every minute."""
        hours = self.hours()
        if hours and time.monotonic() > self._noted + _NOTE_S:
            self._study.set_user_attr(_HOURS, hours)
            self._noted = time.monotonic()

    def on_experiment_end(self, trials: list[RayTrial], **info: Any) -> None:  # noqa: ARG002
        """Notes the last minute."""
        if hours := self.hours():
            self._study.set_user_attr(_HOURS, hours)

    def hours(self) -> float:
        """The number; of nodes that come and go it is some seconds late."""
        now = time.monotonic()
        if now > self._asked + _REFRESH_S:
            self._hours += self._gpus * (now - self._asked) / 3600
            self._gpus, self._asked = _gpus(), now
        return self._hours + self._gpus * (now - self._asked) / 3600

    def told(self) -> str:
        """The same in words, with what they have cost where the price of one is known; nothing without GPUs."""
        hours = self.hours()
        cost = "" if self._price is None else f", {hours * self._price:.2f} at {self._price:g} each"
        return f"{hours:.2f} GPU hours{cost}" if hours or self._gpus else ""


def _gpus() -> float:
    return sum(float(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"])
