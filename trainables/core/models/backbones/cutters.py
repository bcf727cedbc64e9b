"""Cutters: for each architecture of timm and torchvision, how its model splits into stages.

A cutter takes a model (timm's without, torchvision's with its classifier) and returns modules that share its weights
and, run in order, compute its pooled features to the bit. To add one, write a function and enter it in ``CUTTERS``.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from trainables.core.models.backbones.timm_internals import embed_patches, pool_tokens

VIT_GROUPS = 4  # groups of transformer blocks: as many as a convolutional network has resolutions


def _join(modules: Iterable[nn.Module], starts: Sequence[int], tail: Iterable[nn.Module]) -> list[nn.Module]:
    """Join modules into stages that begin at 0 and at each of ``starts``, and append ``tail`` to the last stage."""
    modules = list(modules)
    stages = [nn.Sequential(*modules[begin:end]) for begin, end in pairwise((0, *starts, len(modules)))]
    stages[-1].extend(tail)
    return list(stages)


def _timm_resnet(model: Any) -> list[nn.Module]:
    """Cut a ResNet (He et al. 2016)."""
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    last = nn.Sequential(model.layer4, model.global_pool, nn.Dropout(float(model.drop_rate)))
    return [stem, model.layer1, model.layer2, model.layer3, last]


def _timm_efficientnet(model: Any) -> list[nn.Module]:
    """Cut an EfficientNet (Tan & Le 2019)."""
    tail = (model.conv_head, model.bn2, model.global_pool, nn.Dropout(model.drop_rate))
    return [nn.Sequential(model.conv_stem, model.bn1), *model.blocks[:-1], nn.Sequential(model.blocks[-1], *tail)]


def _timm_mobilenetv3(model: Any) -> list[nn.Module]:
    """Cut a MobileNetV3 (Howard et al. 2019)."""
    head = (model.conv_head, model.norm_head, model.act2, model.flatten, nn.Dropout(model.drop_rate))
    last = nn.Sequential(model.blocks[-1], model.global_pool, *head)
    return [nn.Sequential(model.conv_stem, model.bn1), *model.blocks[:-1], last]


def _timm_convnext(model: Any) -> list[nn.Module]:
    """Cut a ConvNeXt (Liu et al. 2022)."""
    return [model.stem, *model.stages[:-1], nn.Sequential(model.stages[-1], model.norm_pre, model.head)]


def _timm_densenet(model: Any) -> list[nn.Module]:
    """Cut a DenseNet (Huang et al. 2017)."""
    return _join(model.features, _dense_block_starts(model), (model.global_pool, model.head_drop))


def _dense_block_starts(model: Any) -> list[int]:
    return [index for index, (name, _) in enumerate(model.features.named_children()) if name.startswith("denseblock")]


class _ViTEmbedding(nn.Module):
    """(B, 3, H, W) images to (B, N, D) tokens: patches, class and register tokens, positions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vit = _part(model, ("patch_embed", "pos_drop", "patch_drop", "norm_pre"), keep_parameters=True)

    def forward(self, images: Tensor) -> Tensor:
        return embed_patches(self.vit, images)


class _ViTPooling(nn.Module):
    """(B, N, D) tokens to (B, D) features: final norm and pooling, as in the model's own head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vit = _part(model, ("norm", "attn_pool", "fc_norm", "head_drop", "head"), keep_parameters=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return pool_tokens(self.vit, tokens)


def _part(model: nn.Module, children: Iterable[str], *, keep_parameters: bool) -> nn.Module:
    """Copy a model with only some of its children, so that its own methods run on a part of its weights."""
    part = copy.copy(model)
    # through vars(): nn.Module's setattr and delattr would change the registries that the copy shares with the model
    vars(part)["_modules"] = {name: model._modules[name] for name in children if name in model._modules}
    vars(part)["_parameters"] = dict(model._parameters) if keep_parameters else {}
    return part


def _timm_vit(model: Any) -> list[nn.Module]:
    """Cut a vision transformer (Dosovitskiy et al. 2021): the embedding, then four groups of blocks."""
    blocks = len(model.blocks)
    groups = min(VIT_GROUPS, blocks)
    starts = [blocks * group // groups for group in range(1, groups)]
    return [_ViTEmbedding(model), *_join(model.blocks, starts, (_ViTPooling(model),))]


def _torchvision_resnet(model: Any) -> list[nn.Module]:
    """Cut a ResNet (He et al. 2016)."""
    stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
    last = nn.Sequential(model.layer4, model.avgpool, nn.Flatten(1))
    return [stem, model.layer1, model.layer2, model.layer3, last]


def _torchvision_densenet(model: Any) -> list[nn.Module]:
    """Cut a DenseNet (Huang et al. 2017)."""
    tail = (nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return _join(model.features, _dense_block_starts(model), tail)


def _torchvision_squeezenet(model: Any) -> list[nn.Module]:
    """Cut a SqueezeNet (Iandola et al. 2016)."""
    tail = (model.classifier[0], nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return _join(model.features, _starts_after_pooling(model.features), tail)


def _torchvision_vgg(model: Any) -> list[nn.Module]:
    """Cut an AlexNet (Krizhevsky 2014) or a VGG (Simonyan & Zisserman 2015)."""
    tail = (model.avgpool, nn.Flatten(1), *model.classifier[:-1])
    return _join(model.features, _starts_after_pooling(model.features), tail)


def _starts_after_pooling(features: Sequence[nn.Module]) -> list[int]:
    return [index for index in range(1, len(features)) if isinstance(features[index - 1], nn.MaxPool2d)]


def _torchvision_mobilenet(model: Any) -> list[nn.Module]:
    """Cut a MobileNetV2 (Sandler et al. 2018) or a MobileNetV3 (Howard et al. 2019)."""
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(1), *model.classifier[:-1])
    return _join(model.features, [i for i, block in enumerate(model.features) if i and _has_stride(block)], tail)


def _has_stride(block: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) and max(module.stride) > 1 for module in block.modules())


def _torchvision_efficientnet(model: Any) -> list[nn.Module]:
    """Cut an EfficientNet (Tan & Le 2019)."""
    tail = (model.avgpool, nn.Flatten(1), *model.classifier[:-1])
    return _join(model.features, range(1, len(model.features) - 1), tail)  # the last stage takes the 1x1 convolution


def _torchvision_convnext(model: Any) -> list[nn.Module]:
    """Cut a ConvNeXt (Liu et al. 2022)."""
    starts = [1, *range(2, len(model.features), 2)]  # stem, blocks, then (downsampling, blocks) three times
    return _join(model.features, starts, (model.avgpool, *model.classifier[:-1]))


# By the exact class: a subclass may run its parts in another order, so it is grouped instead of cut.
CUTTERS: dict[str, Callable[[Any], list[nn.Module]]] = {
    "timm.models.convnext.ConvNeXt": _timm_convnext,
    "timm.models.densenet.DenseNet": _timm_densenet,
    "timm.models.efficientnet.EfficientNet": _timm_efficientnet,
    "timm.models.mobilenetv3.MobileNetV3": _timm_mobilenetv3,
    "timm.models.resnet.ResNet": _timm_resnet,
    "timm.models.vision_transformer.VisionTransformer": _timm_vit,
    "torch.nn.modules.container.Sequential": lambda model: list(model),  # scratch_cnn()
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
