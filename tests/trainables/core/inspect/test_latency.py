import itertools
import time

import numpy as np
import torch

from trainables.core.inspect import latency
from trainables.core.inspect.features import head_features
from trainables.core.inspect.latency import profile
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.serving.predict_classes import predict_probabilities


class Sleeper(torch.nn.Module):
    """A network that takes 20 ms per call, and 100 ms for each of the first five calls."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.calls = 0

    def forward(self, pixels):
        self.calls += 1
        time.sleep(0.1 if self.calls <= 5 else 0.02)
        return self.weight[None]


def test_parameters_are_counted(config):
    costs = profile(build_classifier(config(), 3).eval(), np.zeros((2, 32, 32, 1), np.uint8))
    # Four convolutions of 3 x 3, a scale and a shift for each of their channels, and the last layer.
    pairs = itertools.pairwise((3, 32, 64, 128, 256))
    convolutions = sum(9 * inputs * outputs + 2 * outputs for inputs, outputs in pairs)
    assert costs.parameters == convolutions + 256 * 3 + 3
    assert "thread" in costs.device


def test_latency_is_measured_in_the_precision_in_which_models_are_served(config):
    """TensorFloat-32 is faster on a GPU, and predictions do not use it."""
    model, images, seen = build_classifier(config(), 3).eval(), np.zeros((1, 32, 32, 1), np.uint8), []
    layer = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    cudnn = torch.backends.cudnn
    layer.register_forward_hook(lambda *_: seen.append((cudnn.allow_tf32, cudnn.deterministic)))
    for run in (predict_probabilities, head_features):
        run(model, images, np.arange(1))
    profile(model, images)
    assert len(seen) > 2
    assert set(seen) == {(False, True)}


def test_latency_is_the_median_in_milliseconds_without_the_warm_up(monkeypatch):
    model = Sleeper()
    monkeypatch.setattr(latency, "_SECONDS", 0.15)
    costs = profile(model, np.zeros((1, 8, 8, 1), np.uint8))
    assert 20 <= costs.latency_ms < 40
    assert 10 <= model.calls < 15  # five to warm up, then until the time limit, but at least five
