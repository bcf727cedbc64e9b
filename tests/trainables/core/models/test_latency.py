import time

import pytest
import torch
from torch import nn

from trainables.core.models.latency import median_latency_ms


class Slow(nn.Module):
    """Takes 2 ms an image, but for a hiccup."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.shapes = []

    def forward(self, images):
        self.shapes.append((tuple(images.shape), images.dtype))
        time.sleep(0.5 if len(self.shapes) == 20 else 0.002)
        return images


def test_it_is_the_median_of_fifty_single_images():
    model = Slow().eval()
    assert median_latency_ms(model, 8, 3) == pytest.approx(2, abs=1.5)
    assert set(model.shapes) == {((1, 8, 8, 3), torch.uint8)}
    assert len(model.shapes) >= 50
