"""Curves of configurations that were not recorded.

Scores come from a forest of extremely randomised trees (Geurts et al. 2006) over the parameters. It predicts the mean
of similar configurations, so a curve also gets the residual that a similar recorded trial had when it was held out:
noise of ``tune``, ``select`` and ``test`` stays as correlated as it is in the table. Scores are predicted as logits, so
that they stay between 0 and 1 without being cut off, which would make ties. Seconds and failures come from a second
forest. A recorded configuration gives its recorded curve.

``python -m benchmarks.curves.surrogate`` compares the forest with the nearest recorded trial on held-out trials.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cache, cached_property
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from optuna.distributions import CategoricalDistribution
from scipy.special import expit, logit
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold

from benchmarks.curves.configurations import suggest
from benchmarks.curves.data_sets import Scale
from benchmarks.curves.table import Curve, Floats, RecordedCurves, cache_key, read_packed
from search_spaces.space import Params

TREES, FOLDS, NEIGHBOURS = 64, 10, 5
EDGE = 0.01  # scores nearer to 0 or 1 count as this far from it, because their logits are infinite


@cache
def space_distributions(draws: int = 300) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return every parameter of the conditional space, in the order of their first occurrence in random draws."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for _ in range(draws):
        trial = study.ask()
        suggest(trial)
        found |= trial.distributions
    return found


class Encoder:
    """Turns parameters into numbers: ranges to 0..1 on their own scale, choices to one column each, absent ones to -1.

    Args:
        distributions: All parameters of the space.
    """

    def __init__(self, distributions: dict[str, optuna.distributions.BaseDistribution]):
        self._distributions = distributions

    def __call__(self, params: Params) -> Floats:
        """Return the (F,) features."""
        return np.concatenate([self._column(name, params.get(name)) for name in self._distributions])

    def _column(self, name: str, value: Any) -> Floats:
        distribution = self._distributions[name]
        if isinstance(distribution, CategoricalDistribution):
            return np.array([float(value == choice) for choice in distribution.choices])
        if value is None:
            return np.array([-1.0])
        scale = np.log if getattr(distribution, "log", False) else float
        low, high = scale(distribution.low), scale(distribution.high)  # type: ignore[attr-defined]
        return np.array([(scale(value) - low) / (high - low)])


class Surrogate:
    """Curves of any configuration on one data set.

    Args:
        recorded: Its recorded trials.
        encode: Encoder of the space.
    """

    def __init__(self, recorded: RecordedCurves, encode: Encoder):
        self.recorded, self._encode = recorded, encode
        self._known = {_digest(params): curve for params, curve in zip(recorded.params, recorded.curves, strict=True)}
        self._features = np.stack([encode(params) for params in recorded.params])
        self._scores = np.stack([_padded(curve, recorded.epochs) for curve in recorded.curves])
        self._logits = logit(self._scores.clip(EDGE, 1 - EDGE))
        self._log_seconds = np.log([_epoch_seconds(curve) for curve in recorded.curves])
        self._failed = np.array([curve.failed_after is not None for curve in recorded.curves], dtype=np.float64)

    def curve(self, params: Params) -> Curve:
        """Return the recorded curve of a configuration, or a predicted one, always the same."""
        key = _digest(params)
        if key not in self._known:
            self._known[key] = self._predict(params, int(key[:8], 16))
        return self._known[key]

    def cache_cost(self, params: Params) -> float:
        """Return the cost of the configuration's cached outputs; of an unrecorded one the mean of its backbone's."""
        costs = self.recorded.cache_seconds
        key = cache_key(params)
        if key[1] == 0 or key in costs:
            return costs.get(key, 0.0)
        return float(np.mean([cost for (backbone, quarters, _), cost in costs.items() if backbone == key[0]] or [0.0]))

    def _predict(self, params: Params, seed: int) -> Curve:
        features = self._encode(params)
        nearest = np.argsort(np.abs(self._features - features).sum(axis=1))
        residual = self._residuals[np.random.default_rng(seed).choice(nearest[:NEIGHBOURS])]
        tune, select, test = np.split(expit(predict_one(self._score_forest, features) + residual), 3)
        *log_seconds, failed = predict_one(self._cost_forest, features)
        first, others = np.exp(log_seconds)
        seconds = np.append(first, np.full(self.recorded.epochs - 1, others))
        if failed < 0.5:
            return Curve(tune, seconds, select, test)
        model = next(self.recorded.curves[place] for place in nearest if self._failed[place])
        ended = len(model.tune)  # fails where the nearest failed trial did
        return Curve(tune[:ended], seconds[:ended], select[:ended], test[:ended], float(others))

    @cached_property
    def _score_forest(self) -> ExtraTreesRegressor:
        return fit_forest(self._features, self._logits)

    @cached_property
    def _cost_forest(self) -> ExtraTreesRegressor:
        return fit_forest(self._features, np.column_stack([self._log_seconds, self._failed]))

    @cached_property
    def _residuals(self) -> Floats:
        return self._logits - held_out(self._features, self._logits, fit_forest)

    def validate(self) -> dict[str, dict[str, float]]:
        """Compare forest and nearest trial on held-out trials, tenfold."""
        report = {}
        for name, fit in {"forest": fit_forest, "nearest": Nearest}.items():
            logits, seconds = (held_out(self._features, truth, fit) for truth in (self._logits, self._log_seconds))
            scores = expit(logits)
            error, last = np.abs(scores - self._scores), self.recorded.epochs - 1
            report[name] = {
                "error of tune": float(error[:, : last + 1].mean()),
                "error of the last tune": float(error[:, last].mean()),
                "error of the last select": float(error[:, 2 * last + 1].mean()),
                "rank correlation of the last tune": float(spearmanr(scores[:, last], self._scores[:, last]).statistic),
                "error of log seconds": float(np.abs(seconds - self._log_seconds).mean()),
            }
        return report


class Nearest:
    """Predicts the targets of the nearest recorded trial, like ``fit_forest``'s result.

    Args:
        features: (n, F).
        targets: (n, T).
    """

    def __init__(self, features: Floats, targets: Floats):
        self._features, self._targets = features, targets

    def predict(self, features: Floats) -> Floats:
        """Return (m, T) for (m, F) features."""
        distance = np.abs(features[:, None] - self._features[None]).sum(axis=2)
        nearest: Floats = self._targets[distance.argmin(axis=1)]
        return nearest


def fit_forest(features: Floats, targets: Floats) -> ExtraTreesRegressor:
    """Fit trees to (n, F) features and (n, T) targets."""
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0)
    return forest.fit(features, targets)


def predict_one(forest: ExtraTreesRegressor, features: Floats) -> Floats:
    """Return (T,) predictions for (F,) features, as ``forest.predict`` does, which takes 20 ms longer."""
    row = features[None].astype(np.float32)
    each = [tree.tree_.predict(row).reshape(-1) for tree in forest.estimators_]
    mean: Floats = np.sum(each, axis=0) / len(each)
    return mean


def held_out(features: Floats, targets: Floats, fit: Callable[[Floats, Floats], Any]) -> Floats:
    """Return (n, T) predictions, each by a model that has not seen its trial."""
    predicted = np.empty_like(targets)
    for train, test in KFold(min(FOLDS, len(features)), shuffle=True, random_state=0).split(features):
        predicted[test] = fit(features[train], targets[train]).predict(features[test])
    return predicted


def _padded(curve: Curve, epochs: int) -> Floats:
    """Return (3E,) scores of tune, select and test. A trial that failed keeps its last scores, or 0 without any."""
    missing = epochs - len(curve.tune)
    return np.concatenate(
        [
            np.append(scores, np.full(missing, scores[-1] if len(scores) else 0.0))
            for scores in (curve.tune, curve.select, curve.test)
        ]
    )


def _epoch_seconds(curve: Curve) -> tuple[float, float]:
    """Return the seconds of the first epoch and the mean of the others, including one that failed."""
    seconds = [*curve.seconds.tolist(), *([] if curve.failed_after is None else [curve.failed_after])]
    return seconds[0], float(np.mean(seconds[1:] or seconds))


def _digest(params: Params) -> str:
    return hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode()).hexdigest()


@cache
def load_surrogates(scale: Scale) -> dict[str, Surrogate]:
    """Return the surrogate of every data set of a table."""
    encode = Encoder(space_distributions())
    return {name: Surrogate(recorded, encode) for name, recorded in read_packed(scale).items()}


def main(
    scale: Annotated[Scale, typer.Option(help="Table of recorded trials.")] = Scale.LARGE,
) -> None:
    """Print how well curves of held-out trials are predicted."""
    for name, surrogate in load_surrogates(scale).items():
        for method, figures in surrogate.validate().items():
            print(name, method, ", ".join(f"{key} {value:.3f}" for key, value in figures.items()))


if __name__ == "__main__":
    typer.run(main)
