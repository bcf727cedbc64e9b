import dataclasses

import numpy as np
import pytest
import torch

from trainables.core.serving.combining.combine import KINDS, Combination
from trainables.core.serving.combining.combine_labels import LabelCombination
from trainables.core.serving.export.combination_graph import combination_graph

MEMBERS, CLASSES = 3, 4


def combination(kind):
    rng = np.random.default_rng(0)
    weights = Combination.of(np.array([0.5, 0.0, 0.3]), kind)
    stacking = {
        "coefficients": tuple(map(tuple, rng.normal(size=(CLASSES, MEMBERS * CLASSES)))),
        "intercept": tuple(rng.normal(size=CLASSES)),
    }
    return dataclasses.replace(weights, temperatures=(0.5, 1.0, 3.0), **(stacking if kind == "stacked" else {}))


@pytest.mark.parametrize("kind", KINDS)
def test_each_rule_gives_the_numbers_of_the_registered_model(kind):
    probabilities = np.random.default_rng(1).dirichlet(np.full(CLASSES, 0.3), (MEMBERS, 50)).astype(np.float32)
    probabilities[0, :2] = [[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]  # certain and undecided
    rule = combination(kind)
    ours = combination_graph(rule)(torch.from_numpy(probabilities)).numpy()
    np.testing.assert_allclose(ours, rule.apply(probabilities), atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "geometric mean"])
def test_labels_get_the_numbers_of_the_registered_model(kind):
    probabilities = np.random.default_rng(1).random((MEMBERS, 50, CLASSES)).astype(np.float32)
    probabilities[0, :2] = [[1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]]
    temperatures = tuple(map(tuple, np.random.default_rng(2).uniform(0.3, 3, (MEMBERS, CLASSES))))
    rule = LabelCombination(kind, (0.5, 0.0, 0.5), (1.0,) * MEMBERS, label_temperatures=temperatures)
    ours = combination_graph(rule)(torch.from_numpy(probabilities)).numpy()
    np.testing.assert_allclose(ours, rule.apply(probabilities), atol=1e-6)
