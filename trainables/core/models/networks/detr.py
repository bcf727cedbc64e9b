"""DETR (Carion et al. 2020) as a segmentation architecture, built from the modules of the transformers library.

Its encoder is the convolutional backbone, its decoder the whole transformer with the queries, and its head turns
queries into classes and masks. There are two variants, chosen as a backbone: ``detr-resnet-50-panoptic``, with the
weights of ``facebook/detr-resnet-50-panoptic`` (``pretrained``, or a folder with its ``model.safetensors`` renamed to
``detr-resnet-50-panoptic.safetensors``), and the small ``detr-tiny``, without pretrained weights.

It differs from the original in three ways: it predicts no boxes, the classifier of the queries starts from random
weights, and batch norm is trained as in any other encoder. ``freeze_encoder`` keeps batch norm frozen, as DETR does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.core.models.networks.detr_variants import VARIANTS, build_original, load_original


class Detr(nn.Module):
    """DETR as encoder, decoder and head, which run in this order.

    Args:
        name: A key of ``VARIANTS``.
        num_outputs: K, the number of pixel classes including the background.
        file: File of weights, from ``detr_file``; None for random weights, from torch's global random state.
    """

    def __init__(self, name: str, num_outputs: int, file: Path | None = None):
        from segmentation_models_pytorch.encoders import get_encoder

        super().__init__()
        original = build_original(name, num_outputs)
        if file is not None:
            load_original(original, file)
        self.encoder: nn.Module = get_encoder(f"tu-{VARIANTS[name].encoder}", weights=None)
        # not strict: the original's frozen batch norm has no count of batches
        self.encoder.model.load_state_dict(original.detr.model.backbone.model.state_dict(), strict=False)
        self.decoder = _Transformer(original.detr.model)
        self.segmentation_head = _Head(original)

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, 3, H, W) normalised images into logits, as ``semantic_logits`` defines them, of the same size."""
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


class _Decoded(NamedTuple):
    """The transformer's output.

    Attributes:
        maps: Feature maps of the encoder; the first is the image.
        projected: (B, D, H / 32, W / 32), the last map projected to the transformer's width D.
        memory: (B, D, H / 32, W / 32), ``projected`` after the transformer's encoder.
        queries: (B, Q, D), the decoded queries.
    """

    maps: Sequence[Tensor]
    projected: Tensor
    memory: Tensor
    queries: Tensor


class _Transformer(nn.Module):
    def __init__(self, original: Any):
        super().__init__()
        self.projection = original.input_projection
        self.positions = original.position_embedding
        self.encoder = original.encoder
        self.queries = original.query_position_embeddings
        self.decoder = original.decoder

    def forward(self, maps: Sequence[Tensor]) -> _Decoded:
        projected = self.projection(maps[-1])
        positions = self.positions(projected.shape, projected.device, maps[0].dtype).flatten(2).transpose(1, 2)
        tokens = projected.flatten(2).transpose(1, 2)
        memory = self.encoder(tokens, spatial_position_embeddings=positions).last_hidden_state
        queries = self.queries.weight.expand(len(tokens), -1, -1)
        decoded = self.decoder(
            torch.zeros_like(queries),
            encoder_hidden_states=memory,
            spatial_position_embeddings=positions,
            object_queries_position_embeddings=queries,
        )
        in_place = memory.transpose(1, 2).unflatten(2, projected.shape[-2:])
        return _Decoded(maps, projected, in_place, decoded.last_hidden_state)


class _Head(nn.Module):
    def __init__(self, original: Any):
        super().__init__()
        self.classes = original.detr.class_labels_classifier
        self.attention = original.bbox_attention
        self.masks = original.mask_head

    def forward(self, decoded: _Decoded) -> Tensor:
        logits = semantic_logits(self.classes(decoded.queries), self._query_masks(decoded))
        return F.interpolate(logits, size=decoded.maps[0].shape[-2:], mode="bilinear")

    def _query_masks(self, decoded: _Decoded) -> Tensor:
        """Return (B, Q, H / 4, W / 4) mask logits, equal to those of the mask head's own forward.

        That forward copies the maps for each query before it narrows them. For one image of 192 pixels, its training
        step took 0.68 GB and 9.9 s, and this one 0.23 GB and 4.5 s (2 shared CPU cores, one run, the ResNet frozen).
        """
        attention = self.attention(decoded.queries, decoded.memory)
        count = attention.shape[1]
        x = torch.cat([decoded.projected.repeat_interleave(count, dim=0), attention.flatten(0, 1)], dim=1)
        x = self.masks.conv2(self.masks.conv1(x))
        for stage, finer in zip(self.masks.fpn_stages, decoded.maps[-2:-5:-1], strict=True):
            adapted = stage.fpn_adapter(finer).repeat_interleave(count, dim=0)
            x = stage.refine(adapted + F.interpolate(x, size=finer.shape[-2:]))
        masks: Tensor = self.masks.output_conv(x)
        return masks.view(-1, count, *masks.shape[-2:])


def semantic_logits(classes: Tensor, masks: Tensor) -> Tensor:
    """Turn queries into one map per class, by the semantic inference of Cheng et al. 2021 (section 3.4).

    A pixel's score for a class is a sum over queries: the probability that the query has the class, times the
    probability that its mask contains the pixel. The result is the logarithm of the scores, so that a softmax over
    classes divides each score by their sum.

    Args:
        classes: (B, Q, K + 1) class logits of the queries, the background first and "no object" last.
        masks: (B, Q, H, W) mask logits of the queries.

    Returns:
        (B, K, H, W) float32. For K = 2 the difference of the two, (B, 1, H, W), whose sigmoid is the foreground's
        normalised score.
    """
    log_class = classes.float().log_softmax(dim=2)[..., :-1]
    log_mask = F.logsigmoid(masks.float())
    scores = torch.logsumexp(log_class[..., None, None] + log_mask[:, :, None], dim=1)
    return scores[:, 1:] - scores[:, :1] if scores.shape[1] == 2 else scores
