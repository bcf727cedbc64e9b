"""Ray's exceptions, for the packages of the driver that may not import ray."""

from ray.exceptions import RayError
from ray.tune import TuneError

__all__ = ["RayError", "TuneError"]
