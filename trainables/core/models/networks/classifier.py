"""Classifiers: a backbone and a head, from uint8 pixels to class logits."""

from torch import Tensor, nn

from trainables.core.config import HeadConfig
from trainables.core.models.backbones.backbone import Backbone, build_backbone
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.heads import build_head


class Classifier(PixelNetwork):
    """A network from (B, S, S, 1 or 3) uint8 pixels to (B, C) logits."""

    def __init__(self, backbone: Backbone, head: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.set_normalisation(backbone.mean, backbone.std)

    def features_and_logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, F) inputs of the head, and (B, C) logits."""
        features = self.backbone.run_trainable(self.run_frozen(pixels))
        return features, self.head(features)

    def run_frozen(self, pixels: Tensor) -> Tensor:
        """Run normalisation and the frozen stages on (B, S, S, 1 or 3) uint8 pixels, without gradients."""
        return self.backbone.run_frozen(self.normalised(pixels))

    def run_trainable(self, x: Tensor) -> Tensor:
        """Run the trainable stages and the head on the output of ``run_frozen``, and return (B, C) logits."""
        logits: Tensor = self.head(self.backbone.run_trainable(x))
        return logits

    def top_down(self) -> list[nn.Module]:
        """Return the head, then the stages from the last to the first."""
        return [self.head, *reversed(list(self.backbone.stages))]


class LabelClassifier(Classifier):
    """A classifier whose C labels are independent of each other."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn (B, C) logits into the probability of each label."""
        return logits.sigmoid()


def build_classifier(config: HeadConfig, num_classes: int, kind: type[Classifier] = Classifier) -> Classifier:
    """Build the configured model on the CPU, with its first ``freeze_depth`` stages frozen.

    New parameters come from torch's global random state, so seed it first.

    Raises:
        WeightsError: The backbone is unknown, or its weights do not exist or do not fit.
        HubError: Its weights cannot be downloaded.
        ConfigError: The backbone has fewer than ``freeze_depth`` stages, or cannot be built as configured.
    """
    backbone = build_backbone(
        config.backbone, config.weights, config.image_size, config.drop_path_rate, config.lora_rank
    )
    backbone.freeze(config.freeze_depth)
    head = build_head(
        config.head, backbone.num_features, num_classes, config.head_dropout, config.head_width, config.hidden_dropout
    )
    return kind(backbone, head)
