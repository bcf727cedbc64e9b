"""Losses of independent labels, means over all images and labels of a batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core.config import MultiLabelConfig
from trainables.core.training.losses import Loss

_LEAST = 1e-8  # lower bound before taking logarithms


def binary_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute torch's binary cross-entropy.

    Args:
        logits: (B, L) float.
        targets: (B, L) of 0 and 1.
        weights: (L,) weight of the positives of each label, or None for 1.
    """
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), pos_weight=weights)


def binary_focal(logits: Tensor, targets: Tensor, weights: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """Compute the focal loss: binary cross-entropy times (1 - p) ** gamma (Lin et al. 2017).

    p is the probability of the truth. With ``gamma`` 0 it equals ``binary_cross_entropy``, weights included.
    """
    log_p = F.logsigmoid(torch.where(targets == 1, logits, -logits))
    losses = -_power(1 - log_p.exp(), gamma) * log_p
    return (losses if weights is None else torch.where(targets == 1, losses * weights, losses)).mean()


def asymmetric(
    logits: Tensor, targets: Tensor, gamma_positive: float = 0.0, gamma_negative: float = 4.0, margin: float = 0.05
) -> Tensor:
    """Compute the asymmetric loss, which discounts easy absent labels most (Ridnik et al. 2021).

    For a probability p, a present label costs -(1 - p) ** gamma_positive log(p). An absent one costs
    -q ** gamma_negative log(1 - q) with q = max(p - margin, 0). The paper sums these; here they are averaged.
    """
    present = -_power(torch.sigmoid(-logits), gamma_positive) * F.logsigmoid(logits)
    shifted = (torch.sigmoid(logits) - margin).clamp(min=0)
    absent = -_power(shifted, gamma_negative) * torch.log((1 - shifted).clamp(min=_LEAST))
    return torch.where(targets == 1, present, absent).mean()


def _power(values: Tensor, gamma: float) -> Tensor:
    if gamma == 0:
        return torch.ones_like(values)
    if gamma < 1:  # the power has an infinite gradient at 0
        values = values.clamp(min=torch.finfo(values.dtype).tiny)
    return values**gamma


# From (L,) positives and negatives in ``fit``, each at least 1, to the weights of positives.
POSITIVE_WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "none": None,
    "balanced": lambda positives, negatives: negatives / positives,
    "sqrt": lambda positives, negatives: (negatives / positives).sqrt(),
}


def positive_weights(kind: str, targets: Tensor) -> Tensor | None:
    """Compute the (L,) float32 weights of positives from the (N, L) labels of ``fit``; None for ``none``.

    ``balanced`` gives the positives of each label the same total weight as its negatives, ``sqrt`` takes the square
    root of that.
    """
    rule = POSITIVE_WEIGHTS[kind]
    positives = targets.sum(dim=0).to(torch.float32)
    return None if rule is None else rule(positives, len(targets) - positives)


LABEL_LOSSES: dict[str, Callable[[MultiLabelConfig, Tensor | None], Loss]] = {
    "bce": lambda _, weights: lambda logits, targets: binary_cross_entropy(logits, targets, weights),
    "focal": lambda config, weights: lambda logits, targets: binary_focal(logits, targets, weights, config.focal_gamma),
    "asymmetric": lambda config, _: (
        lambda logits, targets: asymmetric(logits, targets, config.gamma_positive, config.gamma_negative, config.margin)
    ),
}


def build_label_loss(config: MultiLabelConfig, weights: Tensor | None) -> Loss:
    """Build the configured loss, a function of ((B, L) logits, (B, L) targets) that computes in float32.

    Args:
        config: Configuration with the loss and its parameters.
        weights: (L,) float32 weights of positives on the device of the logits, or None.
    """
    loss = LABEL_LOSSES[config.loss](config, weights)
    return lambda logits, targets: loss(logits.to(torch.float32), targets)
