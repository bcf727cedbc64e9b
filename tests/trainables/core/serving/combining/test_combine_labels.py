import json

import numpy as np
import pytest
from scipy.special import expit, logit

from trainables.core.serving.combining.combine_labels import LabelCombination, temper_labels

P = np.random.default_rng(0).random((3, 20, 2))
PLAIN = ((1.0, 1.0),) * 3
MEMBER_THRESHOLDS = ((0.1, 0.2), (0.3, 0.4), (0.5, 0.6))


def combination(kind="mean", weights=(0.2, 0.5, 0.3), temperatures=PLAIN):
    return LabelCombination(
        kind, weights, (1.0,) * 3, label_temperatures=temperatures, thresholds=(0.4, 0.7),
        member_thresholds=MEMBER_THRESHOLDS,
    )  # fmt: skip


def test_means_are_those_of_probabilities_or_of_log_odds():
    np.testing.assert_allclose(combination().apply(P), np.average(P, axis=0, weights=(0.2, 0.5, 0.3)))
    expected = expit(np.average(logit(P), axis=0, weights=(0.2, 0.5, 0.3)))
    np.testing.assert_allclose(combination("geometric mean").apply(P), expected)


def test_log_odds_are_divided_by_the_temperature_of_the_label():
    temperatures = ((2.0, 1.0), (1.0, 0.5), (3.0, 4.0))
    expected = np.average(expit(logit(P) / np.array(temperatures)[:, None]), axis=0, weights=(0.2, 0.5, 0.3))
    np.testing.assert_allclose(combination(temperatures=temperatures).apply(P), expected)
    np.testing.assert_allclose(temper_labels(np.array([[[0.0, 1.0]]]), [[0.1, 0.1]]), [[[0, 1]]], atol=1e-9)


def test_each_label_has_its_own_threshold():
    combined = combination().apply(P)
    np.testing.assert_array_equal(combination().decide(combined), combined >= [0.4, 0.7])
    np.testing.assert_array_equal(combination().scorable(P), np.hstack([combined, combined >= [0.4, 0.7]]))


def test_a_member_is_an_ensemble_of_its_own_with_its_thresholds():
    alone = combination(temperatures=((2.0, 2.0),) * 3).of_member(1)
    np.testing.assert_array_equal(alone.apply(P[1:2]), P[1])
    assert alone.thresholds == MEMBER_THRESHOLDS[1]


def test_members_without_a_vote_can_be_left_out():
    some = combination("geometric mean", (0.4, 0.0, 0.6), ((2.0, 1.0), (1.0, 0.5), (3.0, 4.0)))
    np.testing.assert_allclose(some.of_voters().apply(P[[0, 2]]), some.apply(P))
    assert some.of_voters().member_thresholds == (MEMBER_THRESHOLDS[0], MEMBER_THRESHOLDS[2])


def test_a_combination_comes_back_from_json():
    saved = combination("geometric mean", temperatures=((2.0, 1.0),) * 3)
    assert LabelCombination.from_dict(json.loads(json.dumps(saved.to_dict()))) == saved


def test_predictions_of_other_members_are_refused():
    with pytest.raises(ValueError, match="must be of 3 members, but got 2"):
        combination().apply(P[:2])
