"""Losses over logits, weighted by class.

The loss ``ordinal`` is the cross-entropy of a network with ``ContinuationRatio`` as its last layer.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core.config import ORDINAL, ClassificationConfig
from trainables.core.errors import ConfigError

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Compute torch's weighted cross-entropy with label smoothing (Szegedy et al. 2016).

    Args:
        logits: (B, C) float.
        targets: (B,) int64 in [0, C).
        weights: (C,) float, or None for equal weights.
        smoothing: Amount of label smoothing, in [0, 1).

    Returns:
        A scalar: the mean over the batch, weighted by the targets' class weights.
    """
    return F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)


def focal(logits: Tensor, targets: Tensor, weights: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """Compute the multi-class focal loss: cross-entropy times (1 - p) ** gamma (Lin et al. 2017).

    With ``gamma`` 0 it equals ``cross_entropy``, weights included.

    Args:
        logits: (B, C, ...) float, of images or pixels.
        targets: (B, ...) int64 in [0, C).
        weights: (C,) float, or None for equal weights.
        gamma: Strength of the discount on well-classified targets, >= 0.

    Returns:
        A scalar: the mean over all targets, weighted by their class weights.
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, targets[:, None]).squeeze(1)
    missing = 1 - log_p.exp()
    if gamma < 1:  # the power has an infinite gradient where p rounds to 1
        missing = missing.clamp(min=torch.finfo(missing.dtype).tiny)
    losses = -(missing**gamma) * log_p
    if weights is None:
        return losses.mean()
    batch_weights = weights[targets]
    return (losses * batch_weights).sum() / batch_weights.sum()


def _build_cross_entropy(config: ClassificationConfig, weights: Tensor | None) -> Loss:
    return lambda logits, targets: cross_entropy(logits, targets, weights, config.label_smoothing)


def _build_focal(config: ClassificationConfig, weights: Tensor | None) -> Loss:
    return lambda logits, targets: focal(logits, targets, weights, config.focal_gamma)


def _build_ordinal(config: ClassificationConfig, weights: Tensor | None) -> Loss:  # noqa: ARG001
    return lambda logits, targets: cross_entropy(logits, targets, weights)


LOSSES: dict[str, Callable[[ClassificationConfig, Tensor | None], Loss]] = {
    "cross_entropy": _build_cross_entropy,
    "focal": _build_focal,
    ORDINAL: _build_ordinal,
}


def check_loss(loss: str, class_names: tuple[str, ...], ordered: bool) -> None:
    """Raise ConfigError if a loss cannot be used with these classes."""
    if loss == ORDINAL and not ordered:
        raise ConfigError(
            f"the loss {ORDINAL} needs grades, but {', '.join(class_names)} have no known order: set `ordered` in the "
            "space and leave out --unordered, or choose another loss"
        )


def build_loss(config: ClassificationConfig, class_weights: Tensor | None) -> Loss:
    """Build the configured loss, a function of ((B, C) logits, (B,) targets) that computes in float32.

    Args:
        config: Configuration with the loss and its parameter.
        class_weights: (C,) float32 on the device of the logits, or None.
    """
    loss = LOSSES[config.loss](config, class_weights)
    return lambda logits, targets: loss(logits.to(torch.float32), targets)
