import json
import math

import numpy as np
import pytest

from trainables.core.serving.combining.combine import KINDS, Combination, temper

MEMBERS, IMAGES, CLASSES = 4, 30, 3


def draw(seed=0, members=MEMBERS):
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), (members, IMAGES)).astype(np.float32)


def fitted(kind, seed=0):
    generator = np.random.default_rng([seed, 1])
    made = Combination.of(generator.random(MEMBERS), kind)
    if kind != "stacked":
        return made
    coefficients = tuple(map(tuple, generator.normal(size=(CLASSES, MEMBERS * CLASSES)).tolist()))
    return Combination(kind, made.weights, made.temperatures, coefficients, tuple(generator.normal(size=3).tolist()))


def by_hand(combination, probabilities):
    """Every kind by its definition, one image and one number at a time."""
    rows = []
    for image in range(probabilities.shape[1]):
        members = [[float(value) for value in probabilities[member, image]] for member in range(len(probabilities))]
        row = []
        votes = [max(range(CLASSES), key=lambda label, one=one: one[label]) for one in members]
        entropies = [-sum(value * math.log(value) for value in one) for one in members]
        for label in range(CLASSES):
            mean = sum(weight * one[label] for weight, one in zip(combination.weights, members, strict=True))
            if combination.kind == "mean":
                row.append(mean)
            elif combination.kind == "geometric mean":
                row.append(
                    math.prod(one[label] ** weight for weight, one in zip(combination.weights, members, strict=True))
                )
            elif combination.kind == "confidence":
                shares = [
                    weight * (1 - entropy / math.log(CLASSES))
                    for weight, entropy in zip(combination.weights, entropies, strict=True)
                ]
                row.append(sum(share * one[label] for share, one in zip(shares, members, strict=True)))
            elif combination.kind == "majority":
                row.append(
                    len(members) * sum(w for w, vote in zip(combination.weights, votes, strict=True) if vote == label)
                    + mean
                )
            else:
                features = [math.log(value) for one in members for value in one]
                terms = zip(combination.coefficients[label], features, strict=True)
                row.append(math.exp(sum(a * b for a, b in terms) + combination.intercept[label]))
        rows.append([value / sum(row) for value in row])
    return np.array(rows)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_against_its_definition(kind, seed):
    combination, probabilities = fitted(kind, seed), draw(seed)
    combined = combination.apply(probabilities)
    np.testing.assert_allclose(combined, by_hand(combination, probabilities), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(combined.sum(axis=1), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(kind):
    combination = fitted(kind)
    assert Combination.from_dict(json.loads(json.dumps(combination.to_dict()))) == combination


def test_the_mean_decides_ties_of_votes_but_never_overrules_a_majority():
    sure, unsure = [0.98, 0.01, 0.01], [0.33, 0.34, 0.33]
    equal = Combination.of(np.ones(3), "majority")
    assert equal.apply(np.array([[sure], [unsure], [unsure]])).argmax(axis=1).tolist() == [1]
    tied = Combination.of(np.ones(2), "majority")
    assert tied.apply(np.array([[unsure], [sure]])).argmax(axis=1).tolist() == [0]


def test_temperatures_keep_the_order_and_sharpen_or_flatten():
    probabilities = draw().astype(np.float64)
    tempered = temper(probabilities, (0.5, 1.0, 2.0, 8.0))
    np.testing.assert_array_equal(tempered.argsort(axis=2), probabilities.argsort(axis=2))
    np.testing.assert_allclose(tempered[0], probabilities[0] ** 2 / (probabilities[0] ** 2).sum(-1, keepdims=True))
    assert (np.sign(tempered.max(2) - probabilities.max(2))[[0, 2, 3]] == [[1], [-1], [-1]]).all()


def test_certain_and_uniform_predictions_can_be_combined():
    extreme = np.array([[[1.0, 0.0, 0.0], [1 / 3] * 3], [[0.0, 1.0, 0.0], [1 / 3] * 3]])
    for kind in KINDS:
        if kind != "stacked":
            combined = Combination.of(np.ones(2), kind).apply(extreme)
            assert np.isfinite(combined).all()
            if kind != "majority":  # a uniform prediction votes for the first class
                np.testing.assert_allclose(combined[1], 1 / 3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stacked"])
def test_members_without_a_vote_can_be_left_out(kind):
    combination = Combination.of(np.array([0.0, 2.0, 0.0, 1.0]), kind)
    assert combination.voters() == [1, 3]
    np.testing.assert_allclose(combination.apply(draw()), combination.of_voters().apply(draw()[[1, 3]]))


@pytest.mark.parametrize(
    ("kind", "weights", "temperatures"),
    [
        ("median", (1.0,), (1.0,)),
        ("mean", (0.7,), (1.0,)),
        ("mean", (1.5, -0.5), (1.0, 1.0)),
        ("mean", (1.0,), (0.0,)),
        ("mean", (1.0,), (1.0, 1.0)),
    ],
)
def test_invalid_values_raise(kind, weights, temperatures):
    with pytest.raises(ValueError, match=r"must be|needs"):
        Combination(kind, weights, temperatures)


def test_another_number_of_members_raises():
    with pytest.raises(ValueError, match="must be of 2 members, but got 4"):
        Combination.of(np.ones(2)).apply(draw())
