"""Stopping rules that extrapolate a trial's curve instead of ranking it."""

from functools import cached_property

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

Floats = NDArray[np.float64]


def best_scores(trial: FrozenTrial) -> Floats:
    """Return the best score so far after each epoch, as ``tune-run`` reports it."""
    return np.array([trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)])


def highest(study: optuna.Study, except_for: FrozenTrial) -> float:
    """Return the best score of all other trials so far; -infinity without any."""
    others = (one for one in study.get_trials(deepcopy=False) if one.number != except_for.number)
    return max((best_scores(one)[-1] for one in others if one.intermediate_values), default=-np.inf)


class PowerLawPosterior(BasePruner):
    """Stops a trial that will hardly reach the best score, by a posterior over power laws (Domhan et al. 2015, pow3).

    The curve is ``a - b * epoch ** -c`` with normal noise. All parameters lie on a grid, with equal prior weight.

    Args:
        epochs: Epochs of a full trial.
        least: A trial stops if the probability that it reaches the best score is below this.
    """

    def __init__(self, epochs: int, least: float = 0.05):
        self._epochs, self._least = epochs, least

    @cached_property
    def _grid(self) -> tuple[Floats, ...]:
        axes = (
            np.linspace(0, 1, 51),
            np.linspace(0, 1, 21),
            np.array([0.25, 0.5, 1.0, 2.0]),
            np.array([0.02, 0.05, 0.1]),
        )
        return tuple(axis.ravel() for axis in np.meshgrid(*axes))

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return True if the trial should stop after its last epoch."""
        scores = best_scores(trial)
        if not 2 <= len(scores) < self._epochs:
            return False
        end, height, power, noise = self._grid
        curves = end[:, None] - height[:, None] * np.arange(1, len(scores) + 1) ** -power[:, None]
        fit = -0.5 * (((scores - curves) / noise[:, None]) ** 2).sum(axis=1) - len(scores) * np.log(noise)
        weights = np.exp(fit - fit.max())
        reaches = end - height * self._epochs**-power >= highest(study, trial)
        return bool(weights[reaches].sum() < self._least * weights.sum())


class ExpectedGain(BasePruner):
    """Stops a trial that would not be the best even with a gain that few trials had after the same epoch.

    Args:
        epochs: Epochs of a full trial.
        quantile: Quantile of the gains of the trials that ran in full.
        trials: Number of trials that must have run in full before any is stopped.
    """

    def __init__(self, epochs: int, quantile: float = 0.9, trials: int = 5):
        self._epochs, self._quantile, self._trials = epochs, quantile, trials

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return True if the trial should stop after its last epoch."""
        scores = best_scores(trial)
        curves = [best_scores(one) for one in study.get_trials(deepcopy=False)]
        gains = [curve[-1] - curve[len(scores) - 1] for curve in curves if len(curve) == self._epochs]
        if len(scores) == self._epochs or len(gains) < self._trials:
            return False
        return bool(scores[-1] + np.quantile(gains, self._quantile) < highest(study, trial))
