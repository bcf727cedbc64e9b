"""Cutting a classification model of timm or torchvision into stages, without changing a bit of what it computes.

A cut model is a list of modules; running them in order on (B, 3, H, W) images gives the pooled (B, F) features that
the model's classifier would get. Pooling ends the last stage, and a stage ends where the resolution falls, so that a
frozen prefix's output is as small as it can be. A family that no cutter below knows keeps its own forward: its stages
then only group the parameters (see `grouping.py`).
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from trainables.core.errors import WeightsError
from trainables.core.models.backbones.uncut import group

VIT_GROUPS = 4  # as many groups of blocks as a convolutional network has resolutions


def cut(model: nn.Module) -> list[nn.Module]:
    """Cut a model into its stages; the model must not be used on its own afterwards.

    Args:
        model: A timm model made with `num_classes=0`, a torchvision classification model with its classifier, or
            `scratch_cnn()`.

    Returns:
        The stages, in the order in which they run; each of them has parameters.

    Raises:
        WeightsError: The model gives more than one output in training (torchvision's GoogLeNet and Inception v3).
    """
    if getattr(model, "aux_logits", False):
        raise WeightsError(f"{type(model).__name__} trains with auxiliary outputs: take another backbone")
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    cutter = _CUTTERS.get(kind)
    if cutter is not None:
        return cutter(model)
    if kind.startswith("torchvision."):
        model.set_submodule(classifier_names(model)[0], nn.Identity())
    return group(model)


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Name the submodules that turn features into class scores, whose weights never matter here.

    Args:
        model: A model of timm, of torchvision (with its classifier), or `scratch_cnn()`.

    Returns:
        The dotted names; empty for `scratch_cnn()` and for timm models that declare none.
    """
    if type(model).__module__.startswith("torchvision."):
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        return (linear[-1] if linear else "classifier.1",)  # SqueezeNet classifies by a convolution
    declared: Any = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    return (declared,) if isinstance(declared, str) else tuple(declared)


def scratch_cnn() -> nn.Sequential:
    """Build the plain network that is trained from random weights: four times convolution, norm, ReLU, max-pool.

    Returns:
        A module from (B, 3, H, W) images of any size to (B, 256) features, whose children are its stages.
    """
    stages = []
    for inputs, outputs in pairwise((3, 32, 64, 128, 256)):
        convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
        # ceil_mode: a single pixel stays a pixel, so that no image is too small
        pool = nn.MaxPool2d(2, ceil_mode=True)
        stages.append(nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), pool))
    stages[-1].extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(1)])
    return nn.Sequential(*stages)


def _joined(modules: Iterable[nn.Module], starts: Sequence[int], tail: Iterable[nn.Module]) -> list[nn.Module]:
    """Join modules into stages that begin at 0 and at `starts`, with `tail` at the end of the last."""
    modules = list(modules)
    stages = [nn.Sequential(*modules[begin:end]) for begin, end in pairwise((0, *starts, len(modules)))]
    stages[-1].extend(tail)
    return list(stages)


def _timm_resnet(model: Any) -> list[nn.Module]:
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    last = nn.Sequential(model.layer4, model.global_pool, nn.Dropout(float(model.drop_rate)))
    return [stem, model.layer1, model.layer2, model.layer3, last]


def _timm_efficientnet(model: Any) -> list[nn.Module]:
    tail = (model.conv_head, model.bn2, model.global_pool, nn.Dropout(model.drop_rate))
    return [nn.Sequential(model.conv_stem, model.bn1), *model.blocks[:-1], nn.Sequential(model.blocks[-1], *tail)]


def _timm_mobilenetv3(model: Any) -> list[nn.Module]:
    head = (model.conv_head, model.norm_head, model.act2, model.flatten, nn.Dropout(model.drop_rate))
    last = nn.Sequential(model.blocks[-1], model.global_pool, *head)
    return [nn.Sequential(model.conv_stem, model.bn1), *model.blocks[:-1], last]


def _timm_convnext(model: Any) -> list[nn.Module]:
    return [model.stem, *model.stages[:-1], nn.Sequential(model.stages[-1], model.norm_pre, model.head)]


def _timm_densenet(model: Any) -> list[nn.Module]:
    return _joined(model.features, _dense_block_starts(model), (model.global_pool, model.head_drop))


def _dense_block_starts(model: Any) -> list[int]:
    return [index for index, (name, _) in enumerate(model.features.named_children()) if name.startswith("denseblock")]


def _torchvision_densenet(model: Any) -> list[nn.Module]:
    tail = (nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return _joined(model.features, _dense_block_starts(model), tail)


def _torchvision_resnet(model: Any) -> list[nn.Module]:
    stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
    last = nn.Sequential(model.layer4, model.avgpool, nn.Flatten(1))
    return [stem, model.layer1, model.layer2, model.layer3, last]


def _torchvision_squeezenet(model: Any) -> list[nn.Module]:
    tail = (model.classifier[0], nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return _joined(model.features, _starts_after_pooling(model.features), tail)


def _torchvision_vgg(model: Any) -> list[nn.Module]:
    tail = (model.avgpool, nn.Flatten(1), *model.classifier[:-1])
    return _joined(model.features, _starts_after_pooling(model.features), tail)


def _starts_after_pooling(features: Sequence[nn.Module]) -> list[int]:
    return [index for index in range(1, len(features)) if isinstance(features[index - 1], nn.MaxPool2d)]


def _torchvision_mobilenet(model: Any) -> list[nn.Module]:
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(1), *model.classifier[:-1])
    return _joined(model.features, [i for i, block in enumerate(model.features) if i and _has_stride(block)], tail)


def _has_stride(block: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) and max(module.stride) > 1 for module in block.modules())


def _torchvision_efficientnet(model: Any) -> list[nn.Module]:
    tail = (model.avgpool, nn.Flatten(1), *model.classifier[:-1])
    return _joined(model.features, range(1, len(model.features) - 1), tail)  # the final 1x1 convolution joins the last


def _torchvision_convnext(model: Any) -> list[nn.Module]:
    starts = [1, *range(2, len(model.features), 2)]  # stem, blocks, then (downsampling, blocks) three times
    return _joined(model.features, starts, (model.avgpool, *model.classifier[:-1]))


class _ViTEmbedding(nn.Module):
    """(B, 3, H, W) images to (B, N, D) tokens: patches, class and register tokens, positions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vit = _part(model, ("patch_embed", "pos_drop", "patch_drop", "norm_pre"), keep_parameters=True)

    def forward(self, images: Tensor) -> Tensor:
        vit: Any = self.vit
        tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
        return tokens


class _ViTPooling(nn.Module):
    """(B, N, D) tokens to (B, D) features: final norm and pooling, as the model's own head does them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vit = _part(model, ("norm", "attn_pool", "fc_norm", "head_drop", "head"), keep_parameters=False)

    def forward(self, tokens: Tensor) -> Tensor:
        vit: Any = self.vit
        features: Tensor = vit.forward_head(vit.norm(tokens))
        return features


def _part(model: nn.Module, children: Iterable[str], *, keep_parameters: bool) -> nn.Module:
    """Copy a model shallowly with only some children, so that its own methods run on a part of its weights."""
    part = copy.copy(model)
    # vars: nn.Module's own attribute setter would not replace its registries
    vars(part)["_modules"] = {name: model._modules[name] for name in children if name in model._modules}
    vars(part)["_parameters"] = dict(model._parameters) if keep_parameters else {}
    return part


def _timm_vit(model: Any) -> list[nn.Module]:
    blocks = len(model.blocks)
    groups = min(VIT_GROUPS, blocks)
    starts = [blocks * group // groups for group in range(1, groups)]
    return [_ViTEmbedding(model), *_joined(model.blocks, starts, (_ViTPooling(model),))]


# By the exact class: a subclass may run its parts in another order, and is then grouped instead of cut.
_CUTTERS: dict[str, Callable[[Any], list[nn.Module]]] = {
    "timm.models.convnext.ConvNeXt": _timm_convnext,
    "timm.models.densenet.DenseNet": _timm_densenet,
    "timm.models.efficientnet.EfficientNet": _timm_efficientnet,
    "timm.models.mobilenetv3.MobileNetV3": _timm_mobilenetv3,
    "timm.models.resnet.ResNet": _timm_resnet,
    "timm.models.vision_transformer.VisionTransformer": _timm_vit,
    "torch.nn.modules.container.Sequential": lambda model: list(model),
    "torchvision.models.alexnet.AlexNet": _torchvision_vgg,
    "torchvision.models.convnext.ConvNeXt": _torchvision_convnext,
    "torchvision.models.densenet.DenseNet": _torchvision_densenet,
    "torchvision.models.efficientnet.EfficientNet": _torchvision_efficientnet,
    "torchvision.models.mobilenetv2.MobileNetV2": _torchvision_mobilenet,
    "torchvision.models.mobilenetv3.MobileNetV3": _torchvision_mobilenet,
    "torchvision.models.resnet.ResNet": _torchvision_resnet,
    "torchvision.models.squeezenet.SqueezeNet": _torchvision_squeezenet,
    "torchvision.models.vgg.VGG": _torchvision_vgg,
}
