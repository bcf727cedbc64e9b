from fractions import Fraction

import numpy as np
import pytest

from analysis.statistics.thresholds import PointRule, choose_threshold, chosen_thresholds
from trainables.core.errors import UserError

RULES = ("youden", "f1", "sensitivity=0.95", "sensitivity=0.8", "specificity=0.9", "cost=10", "cost=0.01")


def drawn(images=120, seed=0, digits=2):
    generator = np.random.default_rng(seed)
    positive = generator.random(images) < 0.3
    positive[:2] = True, False
    scores = 1 / (1 + np.exp(-generator.normal(1.5 * positive - 1, 1)))
    return np.round(scores, digits).astype(np.float32), positive


def shares(scores, positive, threshold):
    called = scores >= np.float32(threshold)
    return called[positive].mean(), (~called[~positive]).mean(), called


def by_brute_force(rule, scores, positive):
    """The best (sensitivity, specificity) of all thresholds, and the value that makes it the best."""

    def worth(threshold):
        sensitivity, specificity, called = shares(scores, positive, threshold)
        hits, misses = (called & positive).sum(), (called & ~positive).sum()
        return {
            "youden": (sensitivity + specificity,),
            "f1": (2 * hits / (2 * hits + misses + (~called & positive).sum()),),
            "sensitivity": (sensitivity >= (rule.value or 0) - 1e-9, specificity, sensitivity),
            "specificity": (True, sensitivity, specificity)
            if specificity >= (rule.value or 0) - 1e-9
            else (False, specificity, sensitivity),
            "cost": (-(rule.value or 0) * (~called & positive).sum() - misses,),
        }[rule.kind]

    return max(map(worth, [*np.unique(scores), 1.1])), worth


@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_the_best_of_all(text, seed):
    rule, (scores, positive) = PointRule.parse(text), drawn(seed=seed)
    best, worth = by_brute_force(rule, scores, positive)
    threshold = choose_threshold(rule, scores, positive)
    assert worth(threshold) == pytest.approx(best)
    assert not np.isin(np.float32(threshold), scores)  # half-way, so that rounding elsewhere changes nothing


def test_of_equally_good_thresholds_the_highest_is_taken():
    scores, positive = np.array([0.9, 0.7, 0.5, 0.3], np.float32), np.array([True, False, True, False])
    assert choose_threshold(PointRule("youden"), scores, positive) == pytest.approx(0.8)  # as good as 0.4
    assert choose_threshold(PointRule("sensitivity", 0.5), scores, positive) == pytest.approx(0.8)
    assert choose_threshold(PointRule("sensitivity", 0.6), scores, positive) == pytest.approx(0.4)


@pytest.mark.parametrize("cost", [None, "0.1"])
def test_rounding_does_not_choose_among_equally_good_thresholds(cost):
    rule, value, images = ("youden", None, 40) if cost is None else ("cost", float(cost), 200)
    for seed in range(100):
        scores, positive = drawn(images, seed)
        positives, negatives = int(positive.sum()), int((~positive).sum())
        for_hit, for_miss = (Fraction(1, positives), Fraction(1, negatives)) if cost is None else (Fraction(cost), 1)
        called = [scores >= threshold for threshold in (1.1, *np.unique(scores)[::-1])]
        worth = [for_hit * int((one & positive).sum()) - for_miss * int((one & ~positive).sum()) for one in called]
        chosen = scores >= np.float32(choose_threshold(PointRule(rule, value), scores, positive))
        assert np.array_equal(chosen, called[worth.index(max(worth))])


def test_more_of_the_wished_share_is_taken_where_it_costs_nothing():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.2], np.float32), np.array([True, True, True, False])
    assert choose_threshold(PointRule("sensitivity", 0.5), scores, positive) == pytest.approx(0.45)
    assert choose_threshold(PointRule("specificity", 0.5), scores, positive) == pytest.approx(0.45)


def test_equal_scores_are_decided_alike():
    scores, positive = np.full(6, 0.5, np.float32), np.array([True, False] * 3)
    assert choose_threshold(PointRule("sensitivity", 0.9), scores, positive) == 0.25  # all positive
    assert choose_threshold(PointRule("specificity", 0.9), scores, positive) == 0.75  # none positive


def test_neighbouring_float32_scores_are_told_apart():
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    threshold = choose_threshold(PointRule("youden"), np.array([low, high]), np.array([False, True]))
    assert np.float32(threshold) == high


def test_a_specificity_that_no_threshold_reaches_gives_the_fewest_false_alarms():
    scores, positive = np.array([1, 1, 0.5, 0.2], np.float32), np.array([False, True, True, False])
    threshold = choose_threshold(PointRule("specificity", 0.9), scores, positive)
    assert threshold == pytest.approx(0.35)  # nothing lies above a score of 1, and 0.5 has no more false alarms


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_without_both_sides_the_threshold_is_a_half(truth):
    assert choose_threshold(PointRule("youden"), np.array([0.1, 0.9], np.float32), np.array(truth)) == 0.5


def test_resamples_choose_as_the_drawn_images_alone_would():
    scores, positive = drawn(images=40, digits=3)
    draws = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=20)
    for text in RULES:
        rule = PointRule.parse(text)
        for threshold, counts in zip(chosen_thresholds(rule, scores, positive, draws), draws, strict=True):
            images = np.repeat(np.arange(40), counts)
            best, worth = by_brute_force(rule, scores[images], positive[images])
            assert worth(threshold) == pytest.approx(best)


@pytest.mark.parametrize("text", ["youden", "f1", "sensitivity=0.95", "specificity=0.9", "cost=10", "cost=0.5"])
def test_a_rule_is_written_as_it_is_parsed(text):
    assert str(PointRule.parse(text)) == text


WRONG = "best youden=1 youden= sensitivity sensitivity= sensitivity=0 sensitivity=1.1 specificity=x cost=-1 cost=inf"


@pytest.mark.parametrize("text", ["", *WRONG.split()])
def test_another_rule_is_refused_with_the_known_ones(text):
    with pytest.raises(UserError, match=r"--operating-point must be youden, f1, sensitivity=S .*but got"):
        PointRule.parse(text)


def test_an_unreachable_specificity_costs_no_more_sensitivity_than_it_has_to():
    """One of 50 negatives has probability 1, so that no threshold has a specificity above 0.98."""
    negatives = np.concatenate([[1.0], np.linspace(0.01, 0.4, 49)])
    scores = np.concatenate([negatives, [1.0], np.linspace(0.5, 0.95, 19)]).astype(np.float32)
    positive = np.arange(70) >= 50
    threshold = choose_threshold(PointRule("specificity", 0.99), scores, positive)
    assert shares(scores, positive, threshold)[:2] == (1.0, 0.98)
    assert threshold == choose_threshold(PointRule("specificity", 0.98), scores, positive)
