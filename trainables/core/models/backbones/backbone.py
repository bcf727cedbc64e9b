"""Backbones: stages from images to pooled features. The first ones can be frozen.

A name is one of timm's (``resnet18``, ``resnet50.a1_in1k``), ``torchvision:NAME``, or ``scratch_cnn``. Weights are:

* ``pretrained``: the default download of timm or torchvision;
* ``random``: the library's own initialisation, drawn from torch's global random state;
* a folder: ``FOLDER/<name without "torchvision:">.safetensors``, with the keys of the original architecture at its
  native image size. The classifier's keys are optional. Only safetensors files are read, never pickles.

``scratch_cnn`` is meant for training from random weights. It gets them for ``pretrained`` too, and for a folder without
a file of its name.
"""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Self

import torch
from torch import Tensor, nn

from trainables.core.config import SCRATCH
from trainables.core.errors import ConfigError, WeightsError
from trainables.core.models.backbones.lora import add_lora
from trainables.core.models.backbones.parameter_groups import undecayed_parameters
from trainables.core.models.backbones.registry import (
    TORCHVISION,
    check_name,
    count_features,
    create_model,
    create_sized_model,
    has_drop_path,
    normalisation,
    on_meta_device,
    pretrained_config,
)
from trainables.core.models.backbones.stages import cut
from trainables.core.models.backbones.weights import check_file, download, load_weights, weights_file, weights_remedy


class Backbone(nn.Module):
    """Stages that run in order, from images to pooled features.

    Args:
        stages: S modules; the last one ends with the pooling.
        num_features: F, the length of the feature vector.
        mean: Channel means the weights were trained with, for images in 0..1.
        std: Channel standard deviations the weights were trained with, for images in 0..1.
        undecayed: Parameters without weight decay.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        num_features: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        undecayed: Collection[nn.Parameter] = (),
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.num_features = num_features
        self.mean = mean
        self.std = std
        self.frozen_depth = 0
        # Some models have constant parameters (sine-cosine positions, with LoRA all of its own). Unfreezing must not
        # make them trainable.
        self._constants = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        self._undecayed = {name for name, parameter in self.named_parameters() if parameter in undecayed}

    @property
    def depth(self) -> int:
        """S, the number of stages."""
        return len(self.stages)

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters without weight decay, as timm's models do."""
        return self._undecayed

    def freeze(self, depth: int) -> None:
        """Freeze the first ``depth`` stages and unfreeze the others.

        Frozen stages get no gradients and stay in eval mode, so neither their parameters nor their buffers (the
        statistics of batch norm) change.

        Raises:
            ConfigError: ``depth`` is outside 0..S.
        """
        if not 0 <= depth <= self.depth:
            raise ConfigError(f"freeze depth must be in 0..{self.depth} (the backbone's stages), but got {depth}")
        training = self.training
        self.frozen_depth = depth
        for name, parameter in self.named_parameters():
            stage = int(name.split(".")[1])  # "stages.<number>. ..."
            parameter.requires_grad_(stage >= depth and name not in self._constants)
        self.train(training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the trainable stages; frozen stages stay in eval mode."""
        super().train(mode)
        for stage in list(self.stages)[: self.frozen_depth]:
            stage.eval()
        return self

    def run_frozen(self, images: Tensor) -> Tensor:
        """Run the frozen stages without gradients.

        Args:
            images: (B, 3, H, W) float, normalised.

        Returns:
            The input of the first trainable stage; the images themselves if nothing is frozen.
        """
        x = images
        with torch.no_grad():
            for stage in list(self.stages)[: self.frozen_depth]:
                x = stage(x)
        return x

    def run_trainable(self, x: Tensor) -> Tensor:
        """Run the trainable stages on the output of ``run_frozen``, and return (B, F) float features."""
        for stage in list(self.stages)[self.frozen_depth :]:
            x = stage(x)
        return x

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, F) float features of (B, 3, H, W) float images, already normalised."""
        return self.run_trainable(self.run_frozen(images))


def build_backbone(
    name: str, weights: str, image_size: int, drop_path_rate: float | None = None, lora_rank: int = 0
) -> Backbone:
    """Build a backbone on the CPU with nothing frozen; random weights come from torch's global random state.

    A torchvision model keeps its classifier's dropout before the last layer; timm models have none there.

    Args:
        name: Name of the architecture, as in the module's docstring.
        weights: ``pretrained``, ``random`` or a folder.
        image_size: Height and width of the images in pixels. Transformers of a fixed input size are built for it, and
            timm resamples their pretrained positions.
        drop_path_rate: Probability of stochastic depth (Huang et al. 2016) in the last block, in 0..1. In timm's models
            it grows linearly with the block. None keeps the architecture's default.
        lora_rank: Rank of the updates of a vision transformer's attention; its own weights are then never trained. 0
            trains them.

    Raises:
        WeightsError: The name is unknown, or its weights do not exist or do not fit.
        HubError: Its weights cannot be downloaded.
        ConfigError: The backbone cannot take images of that size, has no stochastic depth, or is no vision transformer
            that ``lora_rank`` could update.
    """
    check_weights(name, weights)
    num_features = count_features(name, image_size)
    options = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    if options and not has_drop_path(name):
        raise ConfigError(
            f"drop_path_rate needs a timm model with stochastic depth, but {name} is not one: leave drop_path_rate "
            "out, or choose another backbone"
        )
    create = download if weights == "pretrained" and name != SCRATCH else create_sized_model
    model = create(name, image_size, **options)
    file = weights_file(name, weights)
    if file is not None:
        load_weights(model, file)
    if lora_rank:
        add_lora(model, name, lora_rank)
    mean, std = normalisation(model, name)
    undecayed = undecayed_parameters(model)
    return Backbone(cut(model), num_features, mean, std, undecayed)


@cache
def stage_count(name: str) -> int:
    """Count the stages S of a backbone without allocating its weights.

    Raises:
        WeightsError: The name is unknown.
    """
    check_name(name)
    return len(cut(on_meta_device(lambda: create_model(name, num_classes=0))))


@cache
def parameter_count(name: str) -> int:
    """Count the parameters of a backbone without allocating them.

    Raises:
        WeightsError: The name is unknown.
    """
    check_name(name)
    model = on_meta_device(lambda: create_model(name, num_classes=0))
    return sum(parameter.numel() for parameter in model.parameters())


def check_weights(name: str, weights: str) -> None:
    """Check weights as far as possible without reading or downloading them.

    A folder must hold the backbone's file, with the architecture's keys and shapes in its header. For ``pretrained``,
    timm must list such weights.

    Raises:
        WeightsError: A check fails; the message names the first key that differs.
    """
    check_name(name)
    file = weights_file(name, weights)
    if file is not None:
        check_file(name, file)
    if weights == "pretrained" and name != SCRATCH and not name.startswith(TORCHVISION):
        config = pretrained_config(name)
        if config is None or not config.has_weights:
            raise WeightsError(f"timm has no pretrained weights for {name}: {weights_remedy(name)}")
