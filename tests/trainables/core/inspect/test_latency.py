import itertools

import numpy as np

from trainables.core.inspect.latency import profile
from trainables.core.models.networks.classifier import build_classifier


def test_a_profile_counts_what_there_is(config):
    model = build_classifier(config(), 3).eval()
    costs = profile(model, np.zeros((2, 32, 32, 1), np.uint8))
    # Four convolutions of 3 x 3, a scale and a shift for each of their channels, and the last layer.
    widths = (3, 32, 64, 128, 256)
    pairs = itertools.pairwise(widths)
    convolutions = sum(9 * inputs * outputs + 2 * outputs for inputs, outputs in pairs)
    assert costs.parameters == convolutions + 256 * 3 + 3
    assert 0 < costs.latency_ms < 1000
    assert "thread" in costs.device
