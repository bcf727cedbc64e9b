import pytest
import torch
from torch import nn

from trainables.core.models.networks.base import PixelNetwork

MEAN, STD = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)


class Identity(PixelNetwork):
    def features_and_logits(self, pixels):
        return pixels, pixels

    def top_down(self) -> list[nn.Module]:
        return []


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_scaled_and_normalised(channels):
    network = Identity()
    network.set_normalisation(MEAN, STD)
    pixels = torch.randint(0, 256, (2, 5, 5, channels), dtype=torch.uint8)
    colour = pixels.expand(-1, -1, -1, 3).double().permute(0, 3, 1, 2)
    expected = (colour / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    normalised = network.normalised(pixels)
    torch.testing.assert_close(normalised.double(), expected, rtol=1e-4, atol=1e-5)
    assert normalised.is_contiguous(memory_format=torch.channels_last)


def test_the_state_dict_holds_the_normalisation():
    network, other = Identity(), Identity()
    network.set_normalisation(MEAN, STD)
    other.set_normalisation((0, 0, 0), (1, 1, 1))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.scale, network.scale) and torch.equal(other.shift, network.shift)
