"""The surrogate on curves that follow a known rule."""

import dataclasses

import numpy as np
import pytest

from benchmarks.curves.configurations import draw_params
from benchmarks.curves.surrogate import Encoder, Surrogate, space_distributions
from benchmarks.curves.table import Curve, RecordedCurves

EPOCHS = 3
SLOW = "torchvision:mobilenet_v2"


def known_curve(params):
    """Slow and good with one backbone, fast and bad with the others."""
    good = params["backbone"] == SLOW
    tune = np.linspace(0.5, 0.9 if good else 0.6, EPOCHS)
    return Curve(tune, np.full(EPOCHS, 4.0 if good else 1.0), tune - 0.1, tune - 0.2)


@pytest.fixture(scope="module")
def surrogate():
    params = draw_params(60)
    costs = {(SLOW, 4, "none"): 2.0, (SLOW, 4, "flip"): 4.0}
    recorded = RecordedCurves(EPOCHS, tuple(params), tuple(map(known_curve, params)), (0,), costs)
    return Surrogate(recorded, Encoder(space_distributions()))


def test_a_recorded_configuration_gives_its_curve(surrogate):
    recorded = surrogate.recorded
    assert all(surrogate.curve(params) is curve for params, curve in zip(recorded.params, recorded.curves, strict=True))


def test_new_configurations_follow_the_rule(surrogate):
    new = draw_params(100)[60:]
    found, known = [surrogate.curve(params) for params in new], [known_curve(params) for params in new]
    assert surrogate.curve(new[0]) is found[0]
    assert np.abs([one.tune[-1] - other.tune[-1] for one, other in zip(found, known, strict=True)]).mean() < 0.05
    assert np.corrcoef([one.cost for one in found], [one.cost for one in known])[0, 1] > 0.9
    assert all(len(one.tune) == EPOCHS and one.tune.min() > 0.4 and one.tune.max() < 0.95 for one in found)


def test_good_predictions_stay_below_1_and_do_not_tie(surrogate):
    recorded = surrogate.recorded
    noise = np.random.default_rng(0).normal(0, 0.1, len(recorded.curves))
    curves = [
        dataclasses.replace(curve, tune=(curve.tune + 0.08 + one).clip(0, 1))
        for curve, one in zip(recorded.curves, noise, strict=True)
    ]
    noisy = Surrogate(dataclasses.replace(recorded, curves=tuple(curves)), Encoder(space_distributions()))
    last = [noisy.curve(params).tune[-1] for params in draw_params(200)[60:]]
    assert max(last) < 1
    assert len(set(last)) == len(last)


def test_configurations_near_a_failure_fail_where_it_did():
    params = draw_params(80)
    failed = Curve(*[np.array([])] * 4, failed_after=2.0)
    curves = [failed if one["backbone"] == SLOW else known_curve(one) for one in params[:60]]
    surrogate = Surrogate(
        RecordedCurves(EPOCHS, tuple(params[:60]), tuple(curves), (0,), {}), Encoder(space_distributions())
    )
    nearest = [surrogate.curve(one) for one in params[60:] if one["backbone"] == SLOW]
    ended = [one for one in nearest if one.failed_after is not None]
    assert len(ended) > len(nearest) / 2
    assert all(len(one.tune) == 0 and one.failed_after == pytest.approx(2.0, rel=0.5) for one in ended)


def test_the_forest_beats_the_nearest_trial_where_one_parameter_matters(surrogate):
    report = surrogate.validate()
    assert report["forest"]["error of the last tune"] < report["nearest"]["error of the last tune"]


def test_the_cache_of_an_unknown_key_costs_the_mean_of_its_backbone(surrogate):
    cost = {
        quarters: surrogate.cache_cost({"backbone": SLOW, "frozen_quarters": quarters, "augmentation": "none"})
        for quarters in (0, 2, 4)
    }
    assert cost == {0: 0.0, 2: 3.0, 4: 2.0}
