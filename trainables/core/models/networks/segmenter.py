"""Segmentation networks: from uint8 pixels to a logit of every pixel.

DETR has its own file, ``detr.py``. The other architectures are those of segmentation_models_pytorch around a timm
encoder. An encoder has the names and the weights of a classifier's backbone: ``pretrained``, ``random``, or a folder
with ``<backbone>.safetensors`` in the keys of the original timm model. Decoders have no pretrained weights.
"""

from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn

from trainables.core.config import SCRATCH, SegmentationConfig
from trainables.core.errors import ConfigError, UserError, WeightsError, first_line
from trainables.core.models.backbones.backbone import build_backbone, check_weights
from trainables.core.models.backbones.registry import TORCHVISION, normalisation, on_meta_device
from trainables.core.models.backbones.weights import download, read_tensors, weights_file
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.detr import Detr
from trainables.core.models.networks.detr_variants import DETR, VARIANTS, check_detr, detr_file

# By our names: the class in segmentation_models_pytorch.
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
ARCHITECTURES = (*_MODELS, DETR)


class Segmenter(PixelNetwork):
    """A network from (B, S, S, 1 or 3) uint8 pixels to (B, 1, S, S) logits for one class, else (B, 1 + C, S, S)."""

    def __init__(self, network: Any):
        super().__init__()
        self.encoder: nn.Module = network.encoder
        self.decoder: nn.Module = network.decoder
        self.head: nn.Module = network.segmentation_head
        self.set_normalisation(*normalisation(network.encoder.model))
        self._frozen: tuple[nn.Module, ...] = ()

    def features_and_logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, F) means of the encoder's last maps, and the logits of every pixel, the background first."""
        maps = self.encoder(self.normalised(pixels))
        return maps[-1].mean(dim=(2, 3)), self.head(self.decoder(maps))

    def freeze(self, *, encoder: bool, decoder: bool, head: bool) -> None:
        """Freeze parts: no gradients, and always in eval mode, so that the statistics of batch norm do not change."""
        parts = {self.encoder: encoder, self.decoder: decoder, self.head: head}
        self._frozen = tuple(part for part, is_frozen in parts.items() if is_frozen)
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the trainable parts; frozen parts stay in eval mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def top_down(self) -> list[nn.Module]:
        """Return the decoder with the head, then the encoder."""
        return [nn.ModuleList([self.head, self.decoder]), self.encoder]


def build_segmenter(config: SegmentationConfig, num_classes: int) -> Segmenter:
    """Build the configured network on the CPU; new parameters come from torch's global random state.

    Args:
        config: Configuration of the network.
        num_classes: C, without the background.

    Raises:
        WeightsError: The encoder is unknown, or its weights do not exist or do not fit.
        HubError: Its weights cannot be downloaded.
        ConfigError: The architecture cannot take this encoder, or images of this size.
    """
    check_segmenter(config.architecture, config.backbone, config.weights, config.image_size)
    model = Segmenter(_create(config.architecture, config.backbone, num_classes, config.weights, config.image_size))
    model.freeze(encoder=config.freeze_encoder, decoder=config.freeze_decoder, head=config.freeze_head)
    return model


def check_segmenter(architecture: str, backbone: str, weights: str, image_size: int) -> None:
    """Check a network as far as possible without reading or downloading weights, by a run on the meta device.

    Raises:
        WeightsError, ConfigError: As in ``build_segmenter``.
    """
    if architecture == DETR or backbone in VARIANTS:
        check_detr(architecture, backbone, weights, image_size)
    elif backbone == SCRATCH or backbone.startswith(TORCHVISION):
        raise WeightsError(f"an encoder must be a timm backbone, but got {backbone}: choose one with --backbone")
    else:
        check_weights(backbone, weights)
    _check_shapes(architecture, backbone, image_size)


@cache
def segmenter_parameter_count(architecture: str, backbone: str) -> int:
    """Count the parameters of a network for one class without allocating them."""
    network = on_meta_device(lambda: _create(architecture, backbone, 1))
    return sum(parameter.numel() for parameter in network.parameters())


@cache
def _check_shapes(architecture: str, backbone: str, image_size: int) -> None:
    try:
        network = on_meta_device(lambda: _create(architecture, backbone, 1)).eval()
        with torch.no_grad():
            logits = network(torch.empty(2, 3, image_size, image_size, device="meta"))
        assert logits.shape == (2, 1, image_size, image_size), f"its masks are {tuple(logits.shape[2:])}"
    except UserError:
        raise
    except Exception as error:  # the libraries raise different types
        size = f"images of {image_size} x {image_size} pixels"
        raise ConfigError(f"{architecture} on {backbone} cannot take {size}: {first_line(error)}") from error


def _create(architecture: str, backbone: str, num_classes: int, weights: str = "random", image_size: int = 0) -> Any:
    """Build the library's network; only pretrained weights need the image size."""
    if architecture == DETR:
        return Detr(backbone, 1 + num_classes, detr_file(backbone, weights))
    import segmentation_models_pytorch as smp

    build = getattr(smp, _MODELS[architecture])
    network = build(f"tu-{backbone}", encoder_weights=None, classes=1 if num_classes == 1 else 1 + num_classes)
    _load_encoder(network.encoder.model, backbone, weights, image_size)
    return network


def fetch_weights(backbone: str, image_size: int) -> None:
    """Download the pretrained weights of a checked encoder or DETR into the hub's cache.

    Raises:
        HubError: They cannot be downloaded.
        WeightsError: They do not fit.
    """
    if backbone in VARIANTS:
        detr_file(backbone, "pretrained")
    else:
        build_backbone(backbone, "pretrained", image_size)


def _load_encoder(encoder: nn.Module, name: str, weights: str, image_size: int) -> None:
    """Load the original model's tensors into a timm encoder, which has ``stages_0`` in place of ``stages.0``."""
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
