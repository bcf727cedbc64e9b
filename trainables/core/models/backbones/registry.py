"""The original architectures of timm and torchvision by name, before they are cut into stages."""

import difflib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from trainables.core.errors import ConfigError, UserError, WeightsError, first_line
from trainables.core.models.backbones.stages import cut, scratch_cnn

SCRATCH = "scratch_cnn"
TORCHVISION = "torchvision:"


def check_name(name: str) -> None:
    """Raises WeightsError, with the nearest known names, unless timm, torchvision or we have that architecture."""
    known = _known_names(tags="." in name)
    if name not in known:
        matches = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {', '.join(matches)}?" if matches else "see timm.list_models()"
        raise WeightsError(f"unknown backbone {name!r}: {hint}")


@cache
def _known_names(*, tags: bool) -> frozenset[str]:
    import timm
    from torchvision import models

    timm_names = timm.list_models(pretrained=True) if tags else timm.list_models()
    return frozenset([SCRATCH, *timm_names, *(TORCHVISION + name for name in models.list_models(module=models))])


def create(name: str, **timm_options: Any) -> nn.Module:
    """Build the original architecture with random weights; only timm's models have options."""
    if name == SCRATCH:
        return scratch_cnn()
    model: nn.Module
    if name.startswith(TORCHVISION):
        from torchvision.models import get_model

        model = get_model(name.removeprefix(TORCHVISION), weights=None)
    else:
        import timm

        model = timm.create_model(name, **timm_options)
    return model


def sized(name: str, image_size: int, **timm_options: Any) -> nn.Module:
    """Build the architecture for a size of images, and in timm's case without its classifier."""
    config = None if name == SCRATCH or name.startswith(TORCHVISION) else timm_config(name)
    if config is not None and config.fixed_input_size:
        timm_options["img_size"] = image_size
    return create(name, num_classes=0, **timm_options)


def without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model of shapes only, on the meta device; the global random state stays as it is."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # torchvision's RegNets compute their widths from tensors: these need values
        with torch.random.fork_rng(devices=[]):
            return build().to("meta")


def timm_config(name: str) -> Any:
    """Timm's ``PretrainedCfg`` of an architecture, or None."""
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name)


@cache
def count_features(name: str, image_size: int) -> int:
    """Run the model on a meta tensor (shapes only): F, and whether it takes such images at all."""
    try:
        stages = cut(without_weights(lambda: sized(name, image_size)))
        with torch.no_grad():
            images = torch.empty(1, 3, image_size, image_size, device="meta")
            shape = tuple(nn.Sequential(*stages).eval()(images).shape)
    except UserError:
        raise
    except Exception as error:  # each architecture has its own way to say so
        size = f"{image_size} x {image_size} pixels"
        raise ConfigError(f"backbone {name} cannot take images of {size}: {first_line(error)}") from error
    if len(shape) != 2:
        raise WeightsError(f"backbone {name} gives features of shape {shape}, not one pooled vector per image")
    return int(shape[1])


def normalisation(model: nn.Module) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The mean and standard deviation a channel, of images in 0..1, that the architecture's weights are made for."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    if isinstance(model, nn.Sequential):
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    config: Any = getattr(model, "pretrained_cfg", {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD})
    return tuple(config["mean"]), tuple(config["std"])
