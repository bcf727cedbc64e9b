"""All uses of timm's undocumented interfaces.

A new version of timm may change them without notice. test_timm_internals.py checks that the installed version still
has them.
"""

import sys
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


def group_tensors(model: Any, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Return the group number of each tensor of a timm model, by its dotted name.

    The public ``timm.models.group_parameters`` leaves out the buffers.

    Raises:
        AttributeError, AssertionError: The model declares no (coarse) grouping.
    """
    from timm.models._manipulate import group_with_matcher

    return dict(group_with_matcher(iter(tensors), model.group_matcher(coarse=True), reverse=True))


def resample_weights(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adapt the tensors of a checkpoint to the image size that a timm model was built for.

    timm defines a ``checkpoint_filter_fn`` beside the class of a model that needs one. The public
    ``timm.models.load_checkpoint`` takes that function as an argument, but nothing public returns it.
    """
    resample = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return resample(tensors, model) if resample else tensors


def embed_patches(vit: Any, images: Tensor) -> Tensor:
    """Turn (B, 3, H, W) images into the (B, N, D) tokens that a timm ViT's first block gets.

    The public ``forward_features`` runs the blocks too.
    """
    tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    return tokens


def pool_tokens(vit: Any, tokens: Tensor) -> Tensor:
    """Turn the (B, N, D) tokens of a timm ViT's last block into (B, D) features: final norm and pooling."""
    features: Tensor = vit.forward_head(vit.norm(tokens))
    return features
