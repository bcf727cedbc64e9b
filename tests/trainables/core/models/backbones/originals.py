"""The libraries' own models to compare with, and this package's models of the same names and seeds."""

from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model

from trainables.core.models.backbones.backbone import Backbone, build_backbone

SIZE = 32  # pixels; few enough for most operations to stay on one thread
FIXED_SIZE = ("vit_", "swin_", "deit_", "pit_")

# Architectures that have a cutter, with their number of stages, and others, with their number of groups.
CUT = {
    "resnet18": 5,
    "densenet121": 5,
    "efficientnet_b0": 8,
    "mobilenetv3_small_050": 7,
    "convnext_atto": 5,
    "vit_tiny_patch16_224": 5,
    "torchvision:resnet18": 5,
    "torchvision:densenet121": 5,
    "torchvision:squeezenet1_1": 4,
    "torchvision:efficientnet_b0": 8,
    "torchvision:mobilenet_v3_small": 5,
    "torchvision:convnext_tiny": 5,
    "scratch_cnn": 4,
}
# A Swin has window buffers, a GhostNet a head after the pooling, a distilled DeiT has tokens outside its modules, and
# timm has no grouping for a PiT.
GROUPED = {
    "swin_tiny_patch4_window7_224": 6,
    "regnetx_002": 5,
    "ghostnet_050": 11,
    "deit_tiny_distilled_patch16_224": 13,
    "pit_ti_224": 5,
    "torchvision:mnasnet0_5": 14,
}
FAMILIES = CUT | GROUPED


def images(batch: int = 4, size: int = SIZE) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def seeded(build: Callable[[], Any]) -> Any:
    torch.manual_seed(7)
    return build()


def backbone_of(name: str, weights: str = "random") -> Backbone:
    backbone: Backbone = seeded(lambda: build_backbone(name, weights, SIZE))
    return backbone


def timm_original(name: str, **options: Any) -> nn.Module:
    size = {"img_size": SIZE} if name.startswith(FIXED_SIZE) else {}
    model: nn.Module = timm.create_model(name, num_classes=0, **size, **options)
    return model


class PlainCnn(nn.Module):
    """scratch_cnn in functional form, as an independent reference."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((3, 32), (32, 64), (64, 128), (128, 256))
        self.layers = nn.ModuleList(
            layer for i, o in widths for layer in (nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o))
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2, ceil_mode=True)
        return x.mean((2, 3))


def library_model(name: str) -> nn.Module:
    """Build the whole architecture, classifier included, at its native size."""
    short = name.removeprefix("torchvision:")
    model: nn.Module = timm.create_model(name) if short == name else get_model(short, weights=None)
    return model


def without_last_layer(name: str, model: Any) -> nn.Module:
    """Remove the last layer of a torchvision model, so that it returns the features."""
    if "squeezenet" in name:
        return nn.Sequential(model.features, model.classifier[0], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    last = "fc" if "resnet" in name else "classifier"
    if last == "classifier" and isinstance(model.classifier, nn.Sequential):
        last = f"classifier.{len(model.classifier) - 1}"
    model.set_submodule(last, nn.Identity())
    return model


def original_of(name: str) -> nn.Module:
    if name == "scratch_cnn":
        return PlainCnn()
    if name.startswith("torchvision:"):
        return without_last_layer(name, library_model(name))
    return timm_original(name)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    # state_dict would leave out the buffers that are not saved
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in snapshot(module).items() if not torch.equal(tensor, before[name])}
