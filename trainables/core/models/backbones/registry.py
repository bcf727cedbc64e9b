"""The original architectures of timm and torchvision by name, before they are cut into stages."""

import difflib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from trainables.core.config import SCRATCH
from trainables.core.errors import ConfigError, UserError, WeightsError, first_line
from trainables.core.models.backbones.lora import attention_modules
from trainables.core.models.backbones.stages import cut, scratch_cnn

TORCHVISION = "torchvision:"


def check_name(name: str) -> None:
    """Check that timm, torchvision or this package has an architecture.

    Raises:
        WeightsError: The name is unknown; the message suggests the nearest names.
    """
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


def create_model(name: str, **timm_options: Any) -> nn.Module:
    """Build the original architecture with random weights; only timm models take options."""
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


def create_sized_model(name: str, image_size: int, **timm_options: Any) -> nn.Module:
    """Build the original architecture for an image size; timm models come without their classifier by default."""
    config = None if name == SCRATCH or name.startswith(TORCHVISION) else pretrained_config(name)
    if config is not None and config.fixed_input_size:
        timm_options["img_size"] = image_size
    return create_model(name, **{"num_classes": 0, **timm_options})


def on_meta_device(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model on the meta device (shapes without values), leaving the global random state unchanged."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # torchvision's RegNets compute their widths from tensors, which need values
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return build().to("meta")


def pretrained_config(name: str) -> Any:
    """Return timm's ``PretrainedCfg`` of an architecture, or None."""
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name)


@cache
def count_features(name: str, image_size: int) -> int:
    """Run a backbone on the meta device and return F, the length of its feature vector.

    Raises:
        ConfigError: The backbone cannot take images of that size.
        WeightsError: Its features are not one vector per image.
    """
    try:
        stages = cut(on_meta_device(lambda: create_sized_model(name, image_size)))
        with torch.no_grad():
            images = torch.empty(1, 3, image_size, image_size, device="meta")
            shape = tuple(nn.Sequential(*stages).eval()(images).shape)
    except UserError:
        raise
    except Exception as error:  # architectures raise different types for a size they cannot take
        size = f"{image_size} x {image_size} pixels"
        raise ConfigError(f"backbone {name} cannot take images of {size}: {first_line(error)}") from error
    if len(shape) != 2:
        raise WeightsError(
            f"a backbone must return one feature vector per image, but {name} returns {shape}: choose another backbone"
        )
    return int(shape[1])


@cache
def has_drop_path(name: str) -> bool:
    """Return True for timm's models with stochastic depth.

    Some of torchvision's models have it too, but not all of them let it be changed.

    Raises:
        WeightsError: The name is unknown.
    """
    from timm.layers import DropPath

    check_name(name)
    if name == SCRATCH or name.startswith(TORCHVISION):
        return False
    try:
        model = on_meta_device(lambda: create_model(name, num_classes=0, drop_path_rate=0.5))
    except TypeError:  # the architecture does not know the option
        return False
    return any(isinstance(module, DropPath) for module in model.modules())


@cache
def can_have_lora(name: str) -> bool:
    """Return True for timm's vision transformers (ViT, DeiT, DINOv2 and their like).

    Raises:
        WeightsError: The name is unknown.
    """
    check_name(name)
    if name == SCRATCH or name.startswith(TORCHVISION):
        return False
    return bool(attention_modules(on_meta_device(lambda: create_model(name, num_classes=0))))


def torchvision_weights(name: str) -> Any:
    """Return torchvision's default weights of one of its architectures."""
    from torchvision.models import get_model_weights

    return get_model_weights(name.removeprefix(TORCHVISION)).DEFAULT


def normalisation(model: nn.Module, name: str = "") -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the channel means and standard deviations, for images in 0..1, that a model's weights were trained with.

    Args:
        model: A model of timm or torchvision, the encoder of a DETR, or ``scratch_cnn()``.
        name: Name of the backbone. Only models of torchvision need it, because they do not know their own.
    """
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    if isinstance(model, nn.Sequential):  # scratch_cnn()
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    if name.startswith(TORCHVISION):
        transforms = torchvision_weights(name).transforms()
        return tuple(transforms.mean), tuple(transforms.std)
    config: Any = getattr(model, "pretrained_cfg", {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD})
    return tuple(config["mean"]), tuple(config["std"])
