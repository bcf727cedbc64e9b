from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.stats import norm

from analysis.statistics.external import subgroup_test as module
from analysis.statistics.external.subgroup_test import holm, subgroup_test
from analysis.statistics.intervals.closed_forms import difference_interval


def test_the_difference_of_symmetric_intervals_adds_their_variances():
    one, other = norm(0.8, 0.03), norm(0.7, 0.04)
    bounds = difference_interval(0.8, one.interval(0.95), 0.7, other.interval(0.95))
    assert bounds == pytest.approx(norm(0.1, 0.05).interval(0.95))


def test_the_difference_of_skewed_intervals_is_skewed():
    low, high = difference_interval(0.95, (0.80, 0.98), 0.95, (0.94, 0.96))
    assert (low, high) == pytest.approx((-np.hypot(0.15, 0.01), np.hypot(0.03, 0.01)))


def mean_of(values):
    return lambda draws: draws @ values / np.maximum(draws.sum(axis=1), 1)


def test_the_p_value_is_the_share_of_all_exchanges_that_differ_as_much(monkeypatch):
    """Eight groups of one class: all exchanges by brute force."""
    monkeypatch.setattr(module, "PERMUTATIONS", 20_000)
    values = np.array([0.9, 0.8, 0.85, 0.4, 0.5, 0.7, 0.3, 0.2])
    subgroup = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = subgroup_test(mean_of(values), subgroup, np.arange(8), np.zeros(8, dtype=np.int64))
    gaps = [abs(values[[*order[:4]]].mean() - values[[*order[4:]]].mean()) for order in permutations(range(8))]
    observed = abs(values[:4].mean() - values[4:].mean())
    assert found == pytest.approx(np.mean(np.array(gaps) >= observed - 1e-12), abs=0.01)


def test_names_are_exchanged_within_a_class_and_between_whole_groups():
    """Within each class the subgroups have equal values, so their different shares of the classes do not matter."""
    classes = np.array([0] * 30 + [1] * 30)
    subgroup = np.array([0] * 25 + [1] * 5 + [0] * 5 + [1] * 25)
    values = np.where(classes == 1, 0.9, 0.1)
    assert subgroup_test(mean_of(values), subgroup, np.arange(60), classes) == 1.0
    two_of_each = np.repeat(np.arange(60), 2)
    assert subgroup_test(mean_of(np.repeat(values, 2)), subgroup[two_of_each], two_of_each, classes) == 1.0


def test_a_group_in_two_subgroups_or_a_single_subgroup_is_not_tested():
    values, classes = np.arange(4.0), np.zeros(2, dtype=np.int64)
    assert subgroup_test(mean_of(values), np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1]), classes) is None
    assert subgroup_test(mean_of(values), np.zeros(4, dtype=np.int64), np.array([0, 0, 1, 1]), classes) is None


def test_false_alarms_stay_below_the_level():
    generator = np.random.default_rng(0)
    alarms = [
        subgroup_test(
            mean_of(generator.random(40)), generator.integers(0, 3, 40), np.arange(40), generator.integers(0, 2, 40)
        )
        <= 0.05
        for _ in range(200)
    ]
    assert np.mean(alarms) < 0.09


def sensitivity_of(right, ill):
    def score(draws):
        with np.errstate(invalid="ignore"):
            return (draws @ (right & ill)) / (draws @ ill.astype(np.int64))

    return score


def test_permutations_without_a_score_are_left_out(monkeypatch):
    """Twelve groups of one class, four of which also have an ill image: all exchanges by brute force."""
    monkeypatch.setattr(module, "PERMUTATIONS", 20_000)
    group_of = np.array([*range(12), 0, 1, 2, 3])
    ill, right = np.arange(16) >= 12, np.array([False] * 12 + [True, True, False, False])
    of_group = np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    found = subgroup_test(sensitivity_of(right, ill), of_group[group_of], group_of, np.zeros(12, dtype=np.int64))
    gaps = []
    for pair in combinations(range(12), 2):
        inside = [right[12 + group] for group in pair if group < 4]
        outside = [right[12 + group] for group in range(4) if group not in pair]
        if inside:
            gaps.append(abs(np.mean(inside) - np.mean(outside)))
    assert len(gaps) == 38  # of 66
    assert found == pytest.approx(np.mean(np.array(gaps) >= 1 - 1e-12), abs=0.01)


def test_false_alarms_stay_below_the_level_if_groups_have_images_of_both_classes(monkeypatch):
    """Half of the permutations or more leave the small subgroup without an ill image."""
    monkeypatch.setattr(module, "PERMUTATIONS", 200)
    generator, found = np.random.default_rng(0), []
    group_of = np.repeat(np.arange(20), 3)
    for _ in range(300):
        ill = (np.arange(60) % 3 == 0) & (generator.random(20) < 0.2)[group_of]
        small = np.isin(np.arange(20), generator.permutation(20)[:3]).astype(np.int64)
        score = sensitivity_of(generator.random(60) < 0.6, ill)
        found.append(subgroup_test(score, small[group_of], group_of, np.zeros(20, dtype=np.int64)))
    p_values = np.array([one for one in found if one is not None])
    assert len(p_values) > 50
    assert p_values.max() == 1
    for level in (0.1, 0.3, 0.5, 0.8):
        assert np.mean(p_values <= level) <= level + 2 * np.sqrt(level * (1 - level) / len(p_values))


def test_a_subgroup_without_a_score_is_left_out():
    ill = np.array([True, False, True, True, False, False])
    score = sensitivity_of(np.array([True, False, False, True, False, False]), ill)
    classes = ill.astype(np.int64)
    assert subgroup_test(score, np.array([0, 0, 1, 1, 2, 2]), np.arange(6), classes) == 1.0
    assert subgroup_test(score, np.array([0, 0, 0, 0, 2, 2]), np.arange(6), classes) is None


def test_holm_multiplies_by_the_number_of_hypotheses_left():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
