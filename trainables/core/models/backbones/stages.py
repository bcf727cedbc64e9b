"""Cutting a classification model of timm or torchvision into stages without changing its output by a bit.

A cut model is a list of modules. Run in order on (B, 3, H, W) images, they give the pooled (B, F) features that the
model's classifier would get. The last stage ends with the pooling. A stage ends where the resolution falls, so that the
output of frozen stages is as small as possible. A model whose class has no cutter keeps its own forward, and its stages
only group its parameters (see ``parameter_groups.py``).
"""

from itertools import pairwise
from typing import Any

from torch import nn

from trainables.core.errors import WeightsError
from trainables.core.models.backbones.cutters import CUTTERS
from trainables.core.models.backbones.parameter_groups import group_parameters


def cut(model: nn.Module) -> list[nn.Module]:
    """Cut a model into stages; the model must not be used by itself afterwards.

    Args:
        model: A timm model made with ``num_classes=0``, a torchvision classification model with its classifier, or
            ``scratch_cnn()``.

    Returns:
        The stages, in the order in which they run; each has parameters.

    Raises:
        WeightsError: The model has auxiliary outputs in training (torchvision's GoogLeNet and Inception v3).
    """
    if getattr(model, "aux_logits", False):
        raise WeightsError(
            f"a backbone must have one output, but {type(model).__name__} trains with auxiliary outputs: "
            "choose another backbone"
        )
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    cutter = CUTTERS.get(kind)
    if cutter is not None:
        return cutter(model)
    if kind.startswith("torchvision."):
        model.set_submodule(classifier_names(model)[0], nn.Identity())
    return group_parameters(model)


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Name the submodules that turn features into class scores; their weights are never used.

    Args:
        model: A timm model, a torchvision model with its classifier, or ``scratch_cnn()``.

    Returns:
        Dotted names; empty for ``scratch_cnn()`` and for timm models that declare no classifier.
    """
    if type(model).__module__.startswith("torchvision."):
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        return (linear[-1] if linear else "classifier.1",)  # SqueezeNet classifies with a convolution
    declared: Any = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    return (declared,) if isinstance(declared, str) else tuple(declared)


def scratch_cnn() -> nn.Sequential:
    """Build a plain network to train from random weights: four times convolution, batch norm, ReLU and max-pooling.

    Returns:
        A module from (B, 3, H, W) images of any size to (B, 256) features, whose children are its stages.
    """
    stages = []
    for inputs, outputs in pairwise((3, 32, 64, 128, 256)):
        convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
        # ceil_mode keeps a single pixel, so that no image is too small
        pool = nn.MaxPool2d(2, ceil_mode=True)
        stages.append(nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), pool))
    stages[-1].extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(1)])
    return nn.Sequential(*stages)
