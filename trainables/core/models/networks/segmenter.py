"""Segmentation networks: from uint8 pixels to logits. DETR has a file of its own, the others are told of here.

They are segmentation_models_pytorch's, around an encoder of timm's.

Their encoder has the names and the weights of a classifier's backbone: `pretrained`, `random`, or a folder with
`<backbone>.safetensors`, the keys of the original timm model. There are no pretrained weights of decoders.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from trainables.core.errors import ConfigError, UserError, WeightsError, first_line
from trainables.core.models.backbones.backbone import build_backbone, check_weights
from trainables.core.models.backbones.registry import SCRATCH, TORCHVISION, normalisation, without_weights
from trainables.core.models.backbones.weights import download, read_tensors, weights_file
from trainables.core.models.networks import detr
from trainables.core.models.networks.base import PixelNetwork

if TYPE_CHECKING:
    from trainables.core.config import SegmentationConfig

# Our names are segmentation_models_pytorch's, lower case.
_MODELS = {
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
    "manet": "MAnet",
    "linknet": "Linknet",
    "fpn": "FPN",
    "pspnet": "PSPNet",
    "pan": "PAN",
    "deeplabv3": "DeepLabV3",
    "deeplabv3plus": "DeepLabV3Plus",
    "upernet": "UPerNet",
    "segformer": "Segformer",
}
ARCHITECTURES = (*_MODELS, detr.ARCHITECTURE)


class Segmenter(PixelNetwork):
    """Takes (B, S, S, 1 or 3) uint8 pixels, returns (B, 1, S, S) logits for one class, else (B, 1 + C, S, S)."""

    def __init__(self, network: Any):
        super().__init__()
        self.encoder: nn.Module = network.encoder
        self.decoder: nn.Module = network.decoder
        self.head: nn.Module = network.segmentation_head
        self.normalise_by(*normalisation(network.encoder.model))
        self._frozen: tuple[nn.Module, ...] = ()

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns the logits of every pixel; with several classes the background comes first."""
        logits: Tensor = self.head(self.decoder(self.encoder(self.normalised(pixels))))
        return logits

    def freeze(self, *, encoder: bool, decoder: bool, head: bool) -> None:
        """Freezes parts: no gradients, and eval mode for good, so that statistics of batch norm do not move either."""
        parts = {self.encoder: encoder, self.decoder: decoder, self.head: head}
        self._frozen = tuple(part for part, is_frozen in parts.items() if is_frozen)
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of the parts that are not frozen; the frozen ones stay in eval mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def top_down(self) -> list[nn.Module]:
        """Decoder and head, and below them the encoder."""
        return [nn.ModuleList([self.head, self.decoder]), self.encoder]


def build_segmenter(config: "SegmentationConfig", num_classes: int) -> Segmenter:
    """Builds the configured network on the CPU; new parameters come from the global RNG.

    Args:
        config: What to build.
        num_classes: C, the background not counted.

    Raises:
        WeightsError: The encoder or its weights are not to be had.
        ConfigError: The architecture cannot have this encoder, or images of this size.
    """
    check_segmenter(config.architecture, config.backbone, config.weights, config.image_size)
    model = Segmenter(_create(config.architecture, config.backbone, num_classes, config.weights, config.image_size))
    model.freeze(encoder=config.freeze_encoder, decoder=config.freeze_decoder, head=config.freeze_head)
    return model


def check_segmenter(architecture: str, backbone: str, weights: str, image_size: int) -> None:
    """Checks all that can be known without reading or downloading weights, by running shapes alone.

    Raises:
        WeightsError, ConfigError: As ``build_segmenter``.
    """
    if architecture == detr.ARCHITECTURE or backbone in detr.VARIANTS:
        detr.check_detr(architecture, backbone, weights, image_size)
    elif backbone == SCRATCH or backbone.startswith(TORCHVISION):
        raise WeightsError(f"an encoder must be one of timm's backbones, but got {backbone}: choose by --backbone")
    else:
        check_weights(backbone, weights)
    _check_shapes(architecture, backbone, image_size)


@cache
def segmenter_parameter_count(architecture: str, backbone: str) -> int:
    """The parameters of a network for one class, counted without making them."""
    network = without_weights(lambda: _create(architecture, backbone, 1))
    return sum(parameter.numel() for parameter in network.parameters())


@cache
def _check_shapes(architecture: str, backbone: str, image_size: int) -> None:
    try:
        network = without_weights(lambda: _create(architecture, backbone, 1)).eval()
        with torch.no_grad():
            logits = network(torch.empty(2, 3, image_size, image_size, device="meta"))
        assert logits.shape == (2, 1, image_size, image_size), f"its masks would be {tuple(logits.shape[2:])}"
    except UserError:
        raise
    except Exception as error:  # each library has its own way to say so
        size = f"images of {image_size} x {image_size} pixels"
        raise ConfigError(f"{architecture} on {backbone} cannot take {size}: {first_line(error)}") from error


def _create(architecture: str, backbone: str, num_classes: int, weights: str = "random", image_size: int = 0) -> Any:
    """The library's network; the images' size is that at which pretrained weights are wanted."""
    if architecture == detr.ARCHITECTURE:
        return detr.Detr(backbone, 1 + num_classes, detr.detr_file(backbone, weights))
    import segmentation_models_pytorch as smp

    build = getattr(smp, _MODELS[architecture])
    network = build(f"tu-{backbone}", encoder_weights=None, classes=1 if num_classes == 1 else 1 + num_classes)
    _load_encoder(network.encoder.model, backbone, weights, image_size)
    return network


def fetch_weights(backbone: str, image_size: int) -> None:
    """Fetches the pretrained weights of a checked encoder, or of a DETR, into the hub's cache.

    Raises:
        WeightsError: They are not to be had.
    """
    if backbone in detr.VARIANTS:
        detr.detr_file(backbone, "pretrained")
    else:
        build_backbone(backbone, "pretrained", image_size)


def _load_encoder(encoder: nn.Module, name: str, weights: str, image_size: int) -> None:
    """Loads the original model's tensors; timm writes ``stages_0`` for ``stages.0`` where it gives features."""
    file = weights_file(name, weights)
    if file is None and weights != "pretrained":
        return
    tensors = read_tensors(file) if file else download(name, image_size).state_dict()
    by_name = {key.replace(".", "_"): tensor for key, tensor in tensors.items()}
    own = encoder.state_dict()
    missing = [key for key in own if key.replace(".", "_") not in by_name]
    if missing:
        raise WeightsError(f"the weights of {name} do not fit an encoder: key {missing[0]} is missing")
    try:
        encoder.load_state_dict({key: by_name[key.replace(".", "_")] for key in own})
    except RuntimeError as error:
        raise WeightsError(f"the weights of {name} do not fit an encoder: {' '.join(str(error).split())}") from error
