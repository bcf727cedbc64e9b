import numpy as np
import optuna
import pytest

from benchmarks.driver.recent_history import RecentTPESampler
from benchmarks.driver.scale import fitted, simulate


def test_the_fit_recovers_a_parabola_despite_outliers():
    counts = np.arange(1, 2001)
    seconds = 0.01 + 2e-5 * counts + 3e-9 * counts**2
    seconds[::97] = 5.0
    cost = fitted(list(zip(counts, seconds, strict=True)))
    assert cost(20_000) == pytest.approx(0.01 + 2e-5 * 20_000 + 3e-9 * 20_000**2, rel=0.02)


def test_the_fit_never_falls_with_the_number_of_trials():
    counts = np.arange(1, 201)
    cost = fitted(list(zip(counts, 1.0 / counts, strict=True)))
    assert (np.diff(cost(np.arange(1, 20_001, 100))) >= 0).all()


def test_simulated_time_is_training_divided_by_utilised_gpus():
    run = simulate(trials=12, gpus=3, epochs=3, stretch=60.0, overhead=0.5)
    assert len(run.suggestions) == 12
    assert [count for count, _ in run.suggestions] == list(range(12))
    assert run.worked >= 0.5 * len(run.reports)
    assert run.seconds * 3 * run.utilisation == pytest.approx(run.trained)
    assert run.trained / 3 < run.seconds < run.trained + run.worked


def test_recent_tpe_samples_from_the_latest_trials_only():
    """Fails if Optuna reads trials in another way than by ``get_trials`` and ``_get_trials``."""

    def suggestion(sampler, skip):
        study = optuna.create_study(sampler=sampler)
        distribution = {"x": optuna.distributions.FloatDistribution(0, 1)}
        generator = np.random.default_rng(0)
        for position, x in enumerate(generator.random(60)):
            value = x if position < 30 else 1 - x  # the later trials contradict the earlier ones
            trial = optuna.trial.create_trial(params={"x": x}, distributions=distribution, value=value)
            if position >= skip:
                study.add_trial(trial)
        return study.ask().suggest_float("x", 0, 1)

    options = {"multivariate": True, "seed": 0}
    recent = suggestion(RecentTPESampler(30, **options), skip=0)
    assert recent == suggestion(optuna.samplers.TPESampler(**options), skip=30)
    assert recent != suggestion(optuna.samplers.TPESampler(**options), skip=0)
