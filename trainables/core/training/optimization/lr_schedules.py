"""Learning-rate schedules: the factor of the base rate as a pure function of the step."""

import math
from collections.abc import Callable

from trainables.core.config import TrainConfig

Schedule = Callable[[TrainConfig, float, float], float]


def _constant(config: TrainConfig, epoch: float, progress: float) -> float:  # noqa: ARG001
    return 1.0


def _cosine(config: TrainConfig, epoch: float, progress: float) -> float:  # noqa: ARG001
    """Follow half a cosine from 1 to 0 (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _step(config: TrainConfig, epoch: float, progress: float) -> float:  # noqa: ARG001
    """Multiply by ``decay_rate`` after every ``decay_epochs``."""
    return math.pow(config.decay_rate, math.floor(epoch / config.decay_epochs))


def _exponential(config: TrainConfig, epoch: float, progress: float) -> float:  # noqa: ARG001
    """Decay smoothly, by ``decay_rate`` per ``decay_epochs``."""
    return math.pow(config.decay_rate, epoch / config.decay_epochs)


def _cyclic(config: TrainConfig, epoch: float, progress: float) -> float:  # noqa: ARG001
    """Follow a triangle between 1 and 0.1 with a period of ``cycle_epochs`` (Smith 2017)."""
    phase = (epoch / config.cycle_epochs) % 1.0
    return 1.0 - 0.9 * (1 - abs(1 - 2 * phase))


SCHEDULES: dict[str, Schedule] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "exponential": _exponential,
    "cyclic": _cyclic,
}


def lr_factor(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Compute the factor of ``config.lr`` at an optimizer step.

    The factor is 1 before ``config.schedule_start``. From there on, the rate warms up linearly from near 0 over the
    first ``warmup_ratio`` of the steps. The schedule covers the remaining steps and counts its epochs from the end of
    the warm-up.

    Args:
        config: Configuration with the schedule, its parameters, the warm-up and the number of epochs.
        step: Number of optimizer steps taken before this one.
        steps_per_epoch: Number of optimizer steps in an epoch, at least 1.

    Returns:
        A factor in [0, 1].
    """
    step -= config.schedule_start * steps_per_epoch
    if step < 0:
        return 1.0
    total = (config.epochs - config.schedule_start) * steps_per_epoch
    warmup = round(config.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = step - warmup
    progress = min(1.0, done / max(1, total - warmup))
    return SCHEDULES[config.schedule](config, done / steps_per_epoch, progress)
