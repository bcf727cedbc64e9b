"""A backbone and a head: from uint8 pixels to class logits."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from trainables.core.models.backbones.backbone import Backbone, build_backbone
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.heads import build_head

if TYPE_CHECKING:
    from trainables.core.config import ClassificationConfig


class Classifier(PixelNetwork):
    """Takes (B, S, S, 1 or 3) uint8 pixels, returns (B, C) logits."""

    def __init__(self, backbone: Backbone, head: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalise_by(backbone.mean, backbone.std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns (B, C) logits; grey pixels fill all three channels."""
        return self.rest(self.prefix(pixels))

    def prefix(self, pixels: Tensor) -> Tensor:
        """Runs what is frozen on (B, S, S, 1 or 3) uint8 pixels: normalisation and the frozen stages."""
        return self.backbone.prefix(self.normalised(pixels))

    def rest(self, x: Tensor) -> Tensor:
        """Runs what is trained on what ``prefix`` gave: (B, C) logits."""
        logits: Tensor = self.head(self.backbone.rest(x))
        return logits

    def top_down(self) -> list[nn.Module]:
        """The head, and the stages from the last to the first."""
        return [self.head, *reversed(list(self.backbone.stages))]


def build_classifier(config: "ClassificationConfig", num_classes: int) -> Classifier:
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
