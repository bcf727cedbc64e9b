"""A backbone and a head: from uint8 pixels to class logits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainables.core.models.backbones import Backbone, build_backbone
from trainables.core.models.heads import build_head

if TYPE_CHECKING:
    from trainables.core.config import TrainConfig


class Classifier(nn.Module):
    """Takes (B, S, S, 1 or 3) uint8 pixels, returns (B, C) logits.

    Scaling and normalisation happen here, on the device: a quarter of the bytes travel, and a registered model cannot
    be fed with other constants than it was trained with.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Backbone, head: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalise_by(backbone.mean, backbone.std)

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Sets what each of three channels is normalised by, of images in 0..1; the state dict carries it."""
        means, stds = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (1 / (255 * stds)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-means / stds).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns (B, C) logits; grey pixels fill all three channels."""
        return self.rest(self.prefix(pixels))

    def prefix(self, pixels: Tensor) -> Tensor:
        """Runs what is frozen on (B, S, S, 1 or 3) uint8 pixels: normalisation and the frozen stages."""
        return self.backbone.prefix(self.normalised(pixels))

    def normalised(self, pixels: Tensor) -> Tensor:
        """(B, S, S, 1 or 3) uint8 pixels to the (B, 3, S, S) that the backbone takes."""
        # (B, S, S, C) seen as (B, C, S, S) is already channels_last; a grey channel broadcasts to three.
        normalised = pixels.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
        return normalised.contiguous(memory_format=torch.channels_last)

    def rest(self, x: Tensor) -> Tensor:
        """Runs what is trained on what ``prefix`` gave: (B, C) logits."""
        logits: Tensor = self.head(self.backbone.rest(x))
        return logits


def build_classifier(config: "TrainConfig", num_classes: int) -> Classifier:
    """Builds the configured model on the CPU, its first ``freeze_depth`` stages frozen.

    New parameters come from the global RNG: seed it before.

    Raises:
        WeightsError: The backbone or its weights are not to be had.
        ConfigError: ``freeze_depth`` is beyond the backbone's stages.
    """
    backbone = build_backbone(config.backbone, config.weights, config.image_size)
    backbone.freeze(config.freeze_depth)
    head = build_head(
        config.head, backbone.num_features, num_classes, config.head_dropout, config.head_width, config.hidden_dropout
    )
    return Classifier(backbone, head)
