"""Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019) of the images of a batch, as in timm.

Each image is mixed with its partner, the image at the mirrored position of the batch (in an odd batch, the middle one
stays as it is). The loss is the authors': that of the image's own target and that of its partner's, weighted by their
shares. For losses that are linear in the target (all but the focal and asymmetric ones), it equals the loss of soft
targets, with class weights and label smoothing as well.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from trainables.core.config import HeadConfig
from trainables.core.training.losses import Loss

_STREAM = 2  # key of this random stream, beside that of the sampler
_SWITCH = 0.5  # timm's probability of cutmix where both are on


@dataclass(frozen=True)
class Mix:
    """Mixture of the images of a batch.

    Attributes:
        share: Share of an image in the mixture, in 0..1; the rest is its partner's.
        box: First and last row (exclusive), first and last column (exclusive) that come from the partner. None blends
            whole images.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mix(config: HeadConfig, epoch: int, batch: int) -> Mix | None:
    """Draw the mixture of a batch, as a pure function of the seed, the epoch and the batch's number.

    Returns:
        A mixture with a share from Beta(alpha, alpha); for cutmix the share that is left beside the box, which the
        image's edges may cut. None if neither mixup nor cutmix is on.
    """
    if not config.mixes:
        return None
    generator = np.random.default_rng([config.seed, epoch, _STREAM, batch])
    both = config.mixup_alpha > 0 and config.cutmix_alpha > 0
    cuts = generator.random() < _SWITCH if both else config.cutmix_alpha > 0
    alpha = config.cutmix_alpha if cuts else config.mixup_alpha
    share = float(generator.beta(alpha, alpha))
    return _cut(share, config.image_size, generator) if cuts else Mix(share)


def _cut(share: float, size: int, generator: np.random.Generator) -> Mix:
    """Place a square box with 1 - ``share`` of the area around a uniformly drawn centre."""
    side = int(size * np.sqrt(1 - share))
    row, column = generator.integers(0, size), generator.integers(0, size)
    edges = (row - side // 2, row + (side + 1) // 2, column - side // 2, column + (side + 1) // 2)
    top, bottom, left, right = (min(max(int(edge), 0), size) for edge in edges)
    return Mix(1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right))


def mixed_images(images: Tensor, mix: Mix) -> Tensor:
    """Mix (B, S, S, channels) uint8 pixels; cutmix returns uint8, mixup float32 pixels in 0..255."""
    if mix.box is None:
        pixels = images.float()
        return pixels * mix.share + pixels.flip(0) * (1 - mix.share)
    top, bottom, left, right = mix.box
    mixed = images.clone()
    mixed[:, top:bottom, left:right] = images.flip(0)[:, top:bottom, left:right]
    return mixed


def mixed_loss(loss: Loss, logits: Tensor, targets: Tensor, mix: Mix | None) -> Tensor:
    """Compute the loss of a mixed batch from the (B, ...) targets before mixing; without a mixture, the plain loss."""
    if mix is None:
        return loss(logits, targets)
    return mix.share * loss(logits, targets) + (1 - mix.share) * loss(logits, targets.flip(0))


def main_targets(targets: Tensor, mix: Mix | None) -> Tensor:
    """Return the target that has the larger share in each mixed image, to score the training by."""
    return targets if mix is None or mix.share >= 0.5 else targets.flip(0)
