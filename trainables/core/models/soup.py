"""Model soups (Wortsman et al. 2022): networks whose weights are the averages of those of several trained networks.

The networks must have been trained from the same pretrained weights. Then their weights mostly lie in one basin of the
loss, and so does the average.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.core.config import HeadConfig
from trainables.core.device import exact_float32, halve_until_it_fits
from trainables.core.errors import CheckpointError
from trainables.core.models.backbones.lora import merged_lora
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.build import trained_network

# Precise statistics need thousands of images, not all of a large set (Wu and Johnson 2021).
_MOST_IMAGES, _BATCH = 4096, 64
_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def average(checkpoints: Iterable[Checkpoint]) -> Checkpoint:
    """Average the weights of classifiers of one architecture; LoRA updates are first added to the weights.

    Statistics of batch norm are averaged too, which is wrong for all stages that are not frozen: see
    ``with_batch_norm_of``. The configuration is the first one's, with only those stages frozen that all of them froze.

    Args:
        checkpoints: Checkpoints to average, at least one. Only one of them at a time is in memory.

    Raises:
        CheckpointError: Their tensors have other names or shapes.
    """
    remaining = iter(checkpoints)
    first = next(remaining)
    weights = merged_lora(first.state.model_tensors())
    sums = {name: tensor.to(torch.float64, copy=True) for name, tensor in weights.items()}
    depths = [_classifier(first).freeze_depth]
    for other in remaining:
        tensors = merged_lora(other.state.model_tensors())
        if _shapes(tensors) != _shapes(weights):
            raise CheckpointError("networks to average must have the same tensors, but these have different ones")
        for name, tensor in tensors.items():
            sums[name] += tensor
        depths.append(_classifier(other).freeze_depth)
    averages = {f"model.{name}": (total / len(depths)).to(weights[name].dtype) for name, total in sums.items()}
    config = dataclasses.replace(_classifier(first), freeze_depth=min(depths), lora_rank=0)
    return dataclasses.replace(first, state=TrainState(first.state.epoch, averages, {}), config=config, progress={})


def _classifier(checkpoint: Checkpoint) -> HeadConfig:
    assert isinstance(checkpoint.config, HeadConfig)
    return checkpoint.config


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


@torch.no_grad()
def with_batch_norm_of(
    checkpoint: Checkpoint, images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device
) -> Checkpoint:
    """Compute the statistics of batch norm again, from images as the network is to see them, without augmentation.

    Averaged weights have other activations than any of the networks had, so they need statistics of their own
    (Izmailov et al. 2018, section 3.2). Frozen stages keep theirs. ``torch.optim.swa_utils.update_bn`` does the same
    for a network without frozen stages; here it would reset their statistics too. Dropout and stochastic depth are off,
    as they are when the network predicts.

    Args:
        checkpoint: Checkpoint of the network.
        images: (N, S, S, channels) uint8 images.
        rows: Indices of the training images; at most 4,096 of them are drawn.
        device: Device to compute on. If a GPU's memory is too small, fewer images at a time give the statistics.

    Raises:
        torch.OutOfMemoryError: The GPU's memory is too small for a single image.
    """
    model = trained_network(checkpoint, device).train()
    norms = [one for one in model.modules() if isinstance(one, _Norm) and one.training and one.track_running_stats]
    if not norms:
        return checkpoint
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # the mean over all batches
    # In random order: sorted images would make batches of one class, whose variances are too small.
    drawn = np.random.default_rng(0).permutation(rows)[:_MOST_IMAGES]

    def compute(size: int) -> None:
        for norm in norms:
            norm.reset_running_stats()
        for batch in np.array_split(drawn, -(-len(drawn) // size)):  # of equal size, since all of them count the same
            model(torch.from_numpy(images[batch]).to(device))

    with exact_float32():
        halve_until_it_fits(compute, _BATCH)
    tensors = {f"model.{name}": tensor.cpu() for name, tensor in model.state_dict().items()}
    return dataclasses.replace(checkpoint, state=dataclasses.replace(checkpoint.state, tensors=tensors))
