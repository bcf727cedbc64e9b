"""Losses over the logits of pixels: one class against the background (sigmoid), or several classes (softmax)."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core.config import SegmentationConfig
from trainables.core.training.losses import Loss, focal

# The terms whose sum is the loss.
MASK_LOSSES: dict[str, tuple[str, ...]] = {
    "bce": ("bce",),
    "dice": ("dice",),
    "focal": ("focal",),
    "bce+dice": ("bce", "dice"),
    "focal+dice": ("focal", "dice"),
}
_BINARY, _MULTICLASS = "binary", "multiclass"  # segmentation_models_pytorch's modes


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], targets.to(logits.dtype))
    return F.cross_entropy(logits, targets)


def _build_cross_entropy(config: SegmentationConfig, mode: str) -> Loss:  # noqa: ARG001
    return _cross_entropy


def _build_dice(config: SegmentationConfig, mode: str) -> Loss:  # noqa: ARG001
    from segmentation_models_pytorch.losses import DiceLoss

    loss: Loss = DiceLoss(mode)
    return loss


def _build_focal(config: SegmentationConfig, mode: str) -> Loss:  # noqa: ARG001
    return partial(_focal, gamma=config.focal_gamma)


def _focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    if logits.shape[1] == 1:  # the sigmoid of z is the softmax of 0 and z
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return focal(logits, targets, gamma=gamma)


_TERMS: dict[str, Callable[[SegmentationConfig, str], Loss]] = {
    "bce": _build_cross_entropy,
    "dice": _build_dice,
    "focal": _build_focal,
}


def build_mask_loss(config: SegmentationConfig, num_classes: int) -> Loss:
    """Build the configured loss, which computes in float32.

    Cross-entropy and focal loss (Lin et al. 2017) are means over the batch's pixels. Dice (Milletari et al. 2016) is
    one ratio per class over all pixels of the batch, averaged over the classes; a class absent from the batch adds 0.

    Args:
        config: Configuration with the loss and its parameter.
        num_classes: C, without the background.

    Returns:
        A function from logits and (B, S, S) uint8 classes (0 for the background) to a scalar. The logits are
        (B, 1, S, S) for C = 1, else (B, 1 + C, S, S) with the background first.
    """
    mode = _BINARY if num_classes == 1 else _MULTICLASS
    terms = [_TERMS[name](config, mode) for name in MASK_LOSSES[config.loss]]

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        wide, classes = logits.to(torch.float32), targets.long()
        total: Tensor = torch.stack([term(wide, classes) for term in terms]).sum()
        return total

    return loss
