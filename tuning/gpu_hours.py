"""How long a search has had GPUs, and what that has cost."""

import time

import ray

_REFRESH_S = 5.0


class GpuHours:
    """GPU hours for which the cluster has had its nodes, busy or not, since this was made."""

    def __init__(self, price: float | None = None):
        self._price = price
        self._hours, self._gpus, self._asked = 0.0, _gpus(), time.monotonic()

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
