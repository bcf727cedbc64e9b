"""Backbones: a list of stages from images to pooled features, of which the first d can be frozen.

Names are timm's (`resnet18`, `resnet50.a1_in1k`), `torchvision:NAME`, or `scratch_cnn`. Where the weights come from:

* `pretrained`: what timm and torchvision download by default;
* `random`: the library's own initialisation, from torch's global random state;
* a folder: `FOLDER/<name without "torchvision:">.safetensors`, with the keys of the original architecture at its
  native image size; the classifier's keys may be absent. Only safetensors are read, never pickles.

`scratch_cnn` exists to be trained from random weights: with `pretrained`, or a folder that has no file of it, it is.
"""

from collections.abc import Sequence
from functools import cache
from typing import Self

import torch
from torch import Tensor, nn

from trainables.core.errors import ConfigError, WeightsError
from trainables.core.models.backbones.registry import (
    SCRATCH,
    TORCHVISION,
    check_name,
    count_features,
    create,
    normalisation,
    sized,
    timm_config,
    without_weights,
)
from trainables.core.models.backbones.stages import cut
from trainables.core.models.backbones.weights import check_file, download, load, way_out, weights_file


class Backbone(nn.Module):
    """Stages that run in order, from images to pooled features.

    Args:
        stages: S modules; the last one ends with the pooling.
        num_features: F, the length of the feature vector.
        mean: What to subtract from each channel of an image in 0..1, as the weights were trained.
        std: What to divide by afterwards.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        num_features: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.num_features = num_features
        self.mean = mean
        self.std = std
        self.frozen_depth = 0
        # a few models have constant parameters (sine-cosine positions), which unfreezing must leave alone
        self._constants = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}

    @property
    def depth(self) -> int:
        """S, the number of stages."""
        return len(self.stages)

    def freeze(self, depth: int) -> None:
        """Freeze the first `depth` stages, and unfreeze the others.

        Frozen stages get no gradients, and stay in eval mode: neither their parameters nor their buffers (the
        statistics of batch norm) move.

        Raises:
            ConfigError: `depth` is outside 0..S.
        """
        if not 0 <= depth <= self.depth:
            raise ConfigError(f"freeze depth must be within 0..{self.depth}, the backbone's stages, but got {depth}")
        training = self.training
        self.frozen_depth = depth
        for name, parameter in self.named_parameters():
            stage = int(name.split(".")[1])  # "stages.<number>. ..."
            parameter.requires_grad_(stage >= depth and name not in self._constants)
        self.train(training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the stages that are not frozen; the frozen ones stay in eval mode."""
        super().train(mode)
        for stage in list(self.stages)[: self.frozen_depth]:
            stage.eval()
        return self

    def prefix(self, images: Tensor) -> Tensor:
        """Run the frozen stages, without gradients: (B, 3, H, W) float to whatever the next stage takes."""
        x = images
        with torch.no_grad():
            for stage in list(self.stages)[: self.frozen_depth]:
                x = stage(x)
        return x

    def rest(self, x: Tensor) -> Tensor:
        """Run the stages that are not frozen: what `prefix` gave to (B, F) float features."""
        for stage in list(self.stages)[self.frozen_depth :]:
            x = stage(x)
        return x

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, 3, H, W) float images, already normalised, into (B, F) float features."""
        return self.rest(self.prefix(images))


def build_backbone(name: str, weights: str, image_size: int) -> Backbone:
    """Build a backbone on the CPU, with nothing frozen; random weights come from torch's global random state.

    A torchvision model keeps the dropout that its classifier has before the last layer; timm's have none there.

    Args:
        name: As the module's docstring says.
        weights: `pretrained`, `random` or a folder.
        image_size: Height and width of the images in pixels; transformers of a fixed size are built for it, and
            their pretrained positions are resampled to it as timm does.

    Raises:
        WeightsError: The name is unknown, or its weights are not to be had or do not fit.
        ConfigError: The backbone cannot take images of that size.
    """
    check_weights(name, weights)
    num_features = count_features(name, image_size)
    model = download(name, image_size) if weights == "pretrained" and name != SCRATCH else sized(name, image_size)
    file = weights_file(name, weights)
    if file is not None:
        load(model, file)
    mean, std = normalisation(model)
    return Backbone(cut(model), num_features, mean, std)


@cache
def stage_count(name: str) -> int:
    """Count the stages S of a backbone, without making its weights.

    Raises:
        WeightsError: The name is unknown.
    """
    check_name(name)
    return len(cut(without_weights(lambda: create(name, num_classes=0))))


@cache
def parameter_count(name: str) -> int:
    """Count the parameters of a backbone, without making them.

    Raises:
        WeightsError: The name is unknown.
    """
    check_name(name)
    return sum(parameter.numel() for parameter in without_weights(lambda: create(name, num_classes=0)).parameters())


def check_weights(name: str, weights: str) -> None:
    """Check all that can be known about weights without reading or downloading them.

    For a folder: that it has the backbone's file, and by the file's header that keys and shapes are the
    architecture's. For `pretrained`: that there are such weights at all.

    Raises:
        WeightsError: One of these does not hold; the message names the first key that differs.
    """
    check_name(name)
    file = weights_file(name, weights)
    if file is not None:
        check_file(name, file)
    if weights == "pretrained" and name != SCRATCH and not name.startswith(TORCHVISION):
        config = timm_config(name)
        if config is None or not config.has_weights:
            raise WeightsError(f"timm has no pretrained weights for {name}: {way_out(name)}")
