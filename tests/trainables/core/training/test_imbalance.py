import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from trainables.core.training.imbalance import CLASS_WEIGHTS, class_weights, epoch_order

COUNTS = np.array([896, 64, 3200, 2240])
LABELS = np.repeat(np.arange(4), COUNTS)


def test_balanced_equals_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(4), y=LABELS)
    np.testing.assert_allclose(class_weights("balanced", COUNTS), expected, rtol=1e-6)


def test_none_gives_no_weights():
    assert class_weights("none", COUNTS) is None


@pytest.mark.parametrize(
    ("kind", "unnormalised"),
    [
        ("sqrt", COUNTS**-0.5),
        ("effective", (1 - 0.999) / (1 - 0.999 ** COUNTS.astype(float))),
        ("boosted", np.array([1 / 896, 1.3 / 64, 1 / 3200, 1 / 2240])),
        ("frequency", COUNTS / COUNTS.sum()),
    ],
)
def test_weights_have_their_ratios_and_mean_one(kind, unnormalised):
    weights = class_weights(kind, COUNTS)
    np.testing.assert_allclose(weights, unnormalised / unnormalised.mean(), rtol=1e-5)
    assert weights.dtype == np.float32


@pytest.mark.parametrize("kind", CLASS_WEIGHTS)
def test_equally_frequent_classes_have_equal_weights(kind):
    if kind != "none":
        first, second, other = class_weights(kind, np.array([10, 10, 100]))
        assert first == second != other
        np.testing.assert_allclose(class_weights(kind, np.array([50, 50, 50])), 1)


def test_shuffle_uses_each_image_once():
    assert sorted(epoch_order("shuffle", LABELS, seed=0, epoch=1)) == list(range(len(LABELS)))


@pytest.mark.parametrize(("kind", "power"), [("weighted", 1.0), ("sqrt", 0.5)])
def test_samplers_draw_classes_at_their_odds(kind, power):
    drawn = np.concatenate([LABELS[epoch_order(kind, LABELS, seed=0, epoch=epoch)] for epoch in range(1, 21)])
    share = np.bincount(drawn) / len(drawn)
    expected = COUNTS ** (1 - power) / (COUNTS ** (1 - power)).sum()
    np.testing.assert_allclose(share, expected, atol=0.01)


@pytest.mark.parametrize("kind", ["shuffle", "weighted", "sqrt"])
def test_the_order_is_a_function_of_seed_and_epoch(kind):
    first = epoch_order(kind, LABELS, seed=3, epoch=2)
    np.testing.assert_array_equal(first, epoch_order(kind, LABELS, seed=3, epoch=2))
    assert (first != epoch_order(kind, LABELS, seed=3, epoch=3)).any()
    assert (first != epoch_order(kind, LABELS, seed=4, epoch=2)).any()
