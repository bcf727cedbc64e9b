"""A synthetic model of transfer learning: a conditional search space like ours, and learning curves that cross.

There are three objectives. Each was fixed before any searcher was run on it:

- ``transfer`` models what practitioners report. Frozen backbones learn fast and end low; tuned ones learn slowly and
  end high. A learning rate below the ideal costs a little and slows training; one above it costs more, and far above
  it training diverges. The ideal grows with the frozen share and the batch size and differs between optimizers. Sampler
  and class weights each correct the imbalance; both together overcorrect. All other parameters matter little.
- ``drawn`` assumes nothing about the field. The seed determines the best options, the optimum of each parameter (for
  each backbone separately), the weight of each parameter, and its effect on the speed of learning.
- ``ordered`` is ``drawn`` with the same speed for all configurations, so that curves cross only by noise.

In the first two, the final value of a configuration does not depend on its speed, so early epochs mislead. The best
value is ``TOP`` by construction (in ``drawn``, up to the grid of the stepped parameters).
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_quality.simulation import Train, Worker
from trainables.core.errors import NonFiniteLossError, describe
from trainables.worker.report_keys import FAILED

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Config = dict[str, Any]
TOP, CHANCE = 0.9, 0.25  # balanced accuracy of the best configuration, and of guessing among four classes
NOISE = 0.012  # standard deviation of an epoch's score, typical of a few hundred images

CHOICES: dict[str, tuple[str | int, ...]] = {
    "backbone": ("resnet18", "resnet50", "densenet121", "efficientnet_b2", "vit_small"),
    "frozen_quarters": (0, 1, 2, 3, 4),
    "head": ("linear", "mlp", "residual", "attention"),
    "class_weights": ("none", "balanced", "sqrt", "effective", "boosted", "frequency"),
    "sampler": ("shuffle", "weighted", "sqrt"),
    "loss": ("cross_entropy", "focal"),
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("constant", "cosine", "step", "exponential", "cyclic"),
    "batch_size": (16, 32, 64),
    "augmentation": ("none", "flip", "medical", "strong"),
}
# low, high, logarithmic scale, step
RANGES: dict[str, tuple[float, float, bool, float | None]] = {
    "head_width": (64, 1024, True, None),
    "head_dropout": (0.0, 0.6, False, 0.1),
    "focal_gamma": (0.5, 3.0, False, 0.5),
    "label_smoothing": (0.0, 0.2, False, 0.05),
    "weight_decay": (1e-6, 1e-1, True, None),
    "sgd_lr": (1e-4, 3e-1, True, None),
    "momentum": (0.0, 0.99, False, None),
    "adam_lr": (1e-5, 1e-2, True, None),
}


@dataclass(frozen=True)
class Curve:
    """The learning curve of a configuration, without noise.

    Attributes:
        final: Value after the last epoch.
        rise: Maps an epoch to the share of the way from chance to ``final``; 1 for the last epoch.
        diverges_in: Epoch in which the loss becomes NaN, or None.
        epoch_seconds: Duration of an epoch.
    """

    final: float
    rise: Callable[[int], float]
    diverges_in: int | None
    epoch_seconds: float

    def value(self, epoch: int) -> float:
        """Return the value after an epoch, counted from 1."""
        return CHANCE + (self.final - CHANCE) * self.rise(epoch)


ObjectiveFunction = Callable[[Config, int], Curve]  # maps a configuration and the epochs of a full trial to its curve


def suggest(trial: "BaseTrial") -> Config:
    """Suggest a configuration of the search space that all methods share."""

    def choose(name: str) -> Any:
        return trial.suggest_categorical(name, CHOICES[name])

    def draw(*names: str) -> Config:
        scales = {name: RANGES[name] for name in names}
        return {name: trial.suggest_float(name, low, high, log=log, step=step)
                for name, (low, high, log, step) in scales.items()}  # fmt: skip

    config = {name: choose(name) for name in CHOICES} | draw("weight_decay")
    config |= draw("head_width", "head_dropout") if config["head"] != "linear" else {}
    config |= draw("focal_gamma") if config["loss"] == "focal" else draw("label_smoothing")
    return config | (draw("sgd_lr", "momentum") if config["optimizer"] == "sgd" else draw("adam_lr"))


def noise(config: Config, seed: int, epochs: int) -> NDArray[np.float64]:
    """Return (epochs,) noise on the values of a configuration, which is the same for all methods."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).digest()
    return np.random.default_rng([seed, *digest[:16]]).normal(0.0, NOISE, epochs)


_LOST: dict[str, dict[Any, float]] = {
    "backbone": {"resnet18": 0.04, "resnet50": 0.02, "densenet121": 0.03, "efficientnet_b2": 0.0, "vit_small": 0.01},
    "frozen_quarters": {0: 0.015, 1: 0.0, 2: 0.01, 3: 0.05, 4: 0.12},
    "head": {"linear": 0.02, "mlp": 0.0, "residual": 0.005, "attention": 0.01},
    "optimizer": {"sgd": 0.01, "adam": 0.005, "adamw": 0.0},
    "schedule": {"constant": 0.015, "cosine": 0.0, "step": 0.005, "exponential": 0.005, "cyclic": 0.01},
    "augmentation": {"none": 0.03, "flip": 0.01, "medical": 0.0, "strong": 0.015},
}
_CORRECTION = {
    "sampler": {"shuffle": 0.0, "weighted": 1.0, "sqrt": 0.5},
    "class_weights": {"none": 0.0, "balanced": 1.0, "sqrt": 0.5, "effective": 0.75, "boosted": 1.25, "frequency": 1.0},
}
_SECONDS = {"resnet18": 1.0, "resnet50": 2.0, "densenet121": 2.5, "efficientnet_b2": 1.8, "vit_small": 2.2}
_SLOWER = {"none": 1.0, "flip": 1.0, "medical": 1.2, "strong": 1.5}


def transfer(config: Config, epochs: int) -> Curve:
    """Return the curve of a configuration in the model of what practitioners report."""
    frozen = config["frozen_quarters"] / 4
    excess = _lr_excess(config, frozen)
    corrected = sum(strength[config[name]] for name, strength in _CORRECTION.items())
    lost = sum(table[config[name]] for name, table in _LOST.items())
    lost += min(0.35, (0.10 if excess > 0 else 0.06) * excess**2)
    lost += 0.06 * (corrected - 1) ** 2 + 0.004 * (math.log10(config["weight_decay"]) + 3) ** 2
    if config["loss"] == "focal":
        lost += 0.006 * (config["focal_gamma"] - 2) ** 2
    else:
        lost += 0.01 + 0.3 * (config["label_smoothing"] - 0.1) ** 2
    if config["head"] != "linear":
        lost += 0.006 * math.log2(config["head_width"] / 256) ** 2 + 0.15 * (config["head_dropout"] - 0.3) ** 2
    slowness = (1 + 4 * (1 - frozen)) * 10 ** (-0.3 * excess) * _SLOWER[config["augmentation"]]
    constant = min(20.0, max(0.5, slowness))
    return Curve(
        final=max(CHANCE, TOP - lost),
        rise=lambda epoch: math.expm1(-epoch / constant) / math.expm1(-epochs / constant),
        diverges_in=None if excess < 1.5 else 3 if excess < 2 else 1,
        epoch_seconds=_SECONDS[config["backbone"]] * (1 - 0.6 * frozen),
    )


def _lr_excess(config: Config, frozen: float) -> float:
    """Return the learning rate relative to its ideal, in powers of ten."""
    if config["optimizer"] == "sgd":
        ideal, effective = -1.0, config["sgd_lr"] / (1 - config["momentum"])
    else:
        ideal, effective = -3.6, config["adam_lr"]
    return math.log10(effective) - (ideal + frozen + 0.5 * math.log10(config["batch_size"] / 32))


def drawn(seed: int, same_speed: bool = False) -> ObjectiveFunction:
    """Return an objective that is determined by the seed, not by knowledge of the field."""
    rng = np.random.default_rng([seed, 2])
    lost = {name: rng.exponential(0.03, len(options)) for name, options in CHOICES.items()}
    optimum = {name: rng.uniform(0.1, 0.9, len(CHOICES["backbone"])) for name in RANGES}
    weight = {name: rng.exponential(0.15) for name in RANGES}
    speeds = 0.0 if same_speed else 1.0
    slower = {name: speeds * rng.normal(0.0, 0.5) for name in RANGES}
    slower_options = {name: speeds * rng.normal(0.0, 0.3, len(options)) for name, options in CHOICES.items()}

    def objective(config: Config, epochs: int) -> Curve:
        option = {name: options.index(config[name]) for name, options in CHOICES.items()}
        place = {name: _place(name, config[name]) for name in RANGES if name in config}
        total = sum(lost[name][index] - lost[name].min() for name, index in option.items())
        total += sum(weight[name] * (x - optimum[name][option["backbone"]]) ** 2 for name, x in place.items())
        log_constant = sum(slower_options[name][index] for name, index in option.items())
        log_constant += sum(slower[name] * (2 * x - 1) for name, x in place.items())
        constant = 2.0 * math.exp(log_constant)
        too_high = max(place.get("sgd_lr", 0.0), place.get("adam_lr", 0.0)) > 0.95
        return Curve(
            final=max(CHANCE, float(TOP - total)),
            rise=lambda epoch: (epoch / (epoch + constant)) / (epochs / (epochs + constant)),
            diverges_in=2 if too_high else None,
            epoch_seconds=1.0 + option["backbone"],
        )

    return objective


def ordered(seed: int) -> ObjectiveFunction:
    """Return an objective whose curves do not cross except by noise."""
    return drawn(seed, same_speed=True)


def _place(name: str, value: float) -> float:
    """Return the position of a value in its range, from 0 to 1."""
    low, high, log, _ = RANGES[name]
    return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)


def trainable(objective: ObjectiveFunction, metric: str, seed: int, epochs: int, raises: bool) -> Train:
    """Return a simulated trainable that reports a noisy curve like ``trainables.worker.trainable``.

    Args:
        objective: Maps a configuration to its curve.
        metric: Bare name of the metric.
        seed: Seed of the noise.
        epochs: Epochs of a full trial.
        raises: If True, a worker whose loss becomes NaN raises; otherwise it reports the failure.
    """

    def train(config: dict[str, Any]) -> Worker:
        curve, added = objective(config["train"], epochs), noise(config["train"], seed, epochs)
        best, best_epoch, done = -math.inf, 0, epochs_done(config)
        for epoch in range(1, epochs + 1):
            if epoch == curve.diverges_in:
                error = NonFiniteLossError(f"the train loss became nan in epoch {epoch}: lower lr or set clip_norm")
                yield curve.epoch_seconds, error if raises else {FAILED: describe(error), f"best_{metric}": math.nan}
                return
            value = min(1.0, max(0.0, curve.value(epoch) + float(added[epoch - 1])))
            if value > best:
                best, best_epoch = value, epoch
            report = {"epoch": epoch, f"tune/{metric}": value, f"best_{metric}": best, "best_epoch": best_epoch}
            if epoch > done:
                yield curve.epoch_seconds, report

    return train


def epochs_done(config: dict[str, Any]) -> int:
    """Return the epochs that a paused trial had before it continues; ``tune-run`` names its folder by them."""
    return int(config.get("folder", "").partition("-after-")[2] or 0)
