"""DETR (Carion et al. 2020) as one more architecture of segmentation: transformers' modules, cut into our three parts.

The encoder is the convolutional backbone, the decoder the whole transformer with its queries, the head what turns
queries into classes and masks. Two go by the name of a backbone: `detr-resnet-50-panoptic`, with the weights of
`facebook/detr-resnet-50-panoptic` (`pretrained`, or a folder with its `model.safetensors` under that name), and the
small `detr-tiny`, which has none. Boxes are not predicted, the queries' classes are learnt anew, and batch norm is
trained as in any other encoder, where DETR itself keeps it as ImageNet left it: `freeze_encoder` does that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.core.errors import ConfigError, WeightsError
from trainables.core.models.backbones.registry import without_weights
from trainables.core.models.backbones.weights import (
    check_shapes,
    download_file,
    read_tensors,
    shapes,
    way_out,
    weights_file,
)

ARCHITECTURE = "detr"
_STRIDE = 32  # of the encoder's last map
_T = TypeVar("_T")


@dataclass(frozen=True)
class Variant:
    """One DETR: timm's name of its encoder, where its weights are, and what differs from transformers' defaults."""

    encoder: str
    repository: str | None = None
    options: dict[str, int] = field(default_factory=dict)


VARIANTS = {
    "detr-resnet-50-panoptic": Variant("resnet50", "facebook/detr-resnet-50-panoptic"),
    "detr-tiny": Variant(
        "test_convnext",
        options={
            "num_queries": 10,
            "d_model": 64,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
        },
    ),
}


class Detr(nn.Module):
    """Encoder, decoder and head, which run in this order.

    Args:
        name: A key of ``VARIANTS``.
        num_outputs: K, the classes of pixels with the background.
        file: What ``detr_file`` gave; None for random weights, from torch's global random state.
    """

    def __init__(self, name: str, num_outputs: int, file: Path | None = None):
        from segmentation_models_pytorch.encoders import get_encoder

        super().__init__()
        original = _original(name, num_outputs)
        if file is not None:
            tensors = _renamed(read_tensors(file), original)
            original.load_state_dict({key: tensors[key] for key in _used(original)}, strict=False)
        self.encoder: nn.Module = get_encoder(f"tu-{VARIANTS[name].encoder}", weights=None)
        # strict would ask for the count of batches, which frozen batch norm has not
        self.encoder.model.load_state_dict(original.detr.model.backbone.model.state_dict(), strict=False)
        self.decoder = _Transformer(original.detr.model)
        self.segmentation_head = _Head(original)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images to logits of ``semantic_logits``, at their size."""
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


class _Decoded(NamedTuple):
    """What the transformer makes of an encoder's maps, the first of which is the image."""

    maps: Sequence[Tensor]
    projected: Tensor  # (B, D, H / 32, W / 32): the last map in the transformer's width
    memory: Tensor  # (B, D, H / 32, W / 32): the same after the transformer's encoder
    queries: Tensor  # (B, Q, D)


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
        """(B, Q, H / 4, W / 4) logits, as the mask head's own forward gives them.

        That one copies an image's maps for each query before it narrows them: at 192 pixels a training step of one
        image took 0.68 GB and 9.9 s there, 0.23 GB and 4.5 s here (2 shared CPU cores, one run, the ResNet frozen).
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
    """Turns queries into a map a class: semantic inference of mask classification (Cheng et al. 2021, section 3.4).

    A pixel's score of a class is the sum over queries of the probabilities that the query is of the class, and that
    its mask holds the pixel. Here are the scores' logarithms, so that the softmax over classes is their share.

    Args:
        classes: (B, Q, K + 1) logits of a query's class, the background first and "no object" last.
        masks: (B, Q, H, W) logits of a query's mask.

    Returns:
        (B, K, H, W) float32; for K = 2 the one difference, (B, 1, H, W), whose sigmoid is the foreground's share.
    """
    of_query = classes.float().log_softmax(dim=2)[..., :-1]
    of_pixel = F.logsigmoid(masks.float())
    scores = torch.logsumexp(of_query[..., None, None] + of_pixel[:, :, None], dim=1)
    return scores[:, 1:] - scores[:, :1] if scores.shape[1] == 2 else scores


def check_detr(architecture: str, name: str, weights: str, image_size: int) -> None:
    """Checks what goes together, and by its header a folder's file, without reading or downloading weights.

    Raises:
        ConfigError: The architecture and the backbone are not both DETR's, its queries cannot tell places of such
            images apart, or transformers is missing.
        WeightsError: There are no such weights, or they do not fit.
    """
    if architecture != ARCHITECTURE or name not in VARIANTS:
        names = " or ".join(VARIANTS)
        message = f"architecture {ARCHITECTURE} and backbone {names} go together, but got {architecture} on {name}"
        raise ConfigError(f"{message}: choose by --backbone, or another architecture")
    if image_size <= _STRIDE:  # with one place to look at all queries are equal, and stay so
        raise ConfigError(f"{ARCHITECTURE} needs images of more than {_STRIDE} pixels, but got image_size={image_size}")
    _transformers()
    if weights == "pretrained" and VARIANTS[name].repository is None:
        raise WeightsError(f"there are no pretrained weights of {name}: {way_out(name)}")
    file = weights_file(name, weights)
    if file is not None:
        _check_file(name, file)


def detr_file(name: str, weights: str) -> Path | None:
    """The file of a checked DETR's weights, fetched where they are ``pretrained``; None for ``random``.

    Raises:
        WeightsError: The hub cannot be reached, or there is no file.
    """
    repository = VARIANTS[name].repository
    if weights != "pretrained" or repository is None:
        return weights_file(name, weights)
    file = download_file(name, repository)
    _check_file(name, file)
    return file


def _original(name: str, num_outputs: int) -> Any:
    """Transformers' own model with random weights; nothing is asked of the hub."""
    variant = VARIANTS[name]
    encoder = {"model_type": "timm_backbone", "backbone": variant.encoder, "features_only": True}
    transformers = _transformers()
    config = transformers.DetrConfig(
        num_labels=num_outputs, backbone_config=encoder | {"out_indices": [-4, -3, -2, -1]}, **variant.options
    )
    model = transformers.DetrForSegmentation(config)
    _initialise(model)
    return model


@torch.no_grad()
def _initialise(original: Any) -> None:
    """Draws new parameters as DETR's authors do; transformers draws them so alike that queries hardly part."""
    for part in (original.detr.model.encoder, original.detr.model.decoder):
        for parameter in part.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
    nn.init.normal_(original.detr.model.query_position_embeddings.weight)
    original.detr.class_labels_classifier.reset_parameters()


def _check_file(name: str, file: Path) -> None:
    model = without_weights(lambda: _original(name, 1))
    expected = {key: tuple(tensor.shape) for key, tensor in _used(model).items()}
    found = _renamed(shapes(file), model)
    check_shapes(name, file, {key: found[key] for key in found if key in expected}, expected)


def _used(original: nn.Module) -> dict[str, Tensor]:
    """The tensors that are taken from the original's weights: all but the queries' classes and boxes."""
    replaced = ("detr.class_labels_classifier.", "detr.bbox_predictor.")
    return {key: tensor for key, tensor in original.state_dict().items() if not key.startswith(replaced)}


def _renamed(by_key: Mapping[str, _T], original: nn.Module) -> dict[str, _T]:
    """Gives what the hub's file holds the names that transformers has for it now."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import rename_source_key

    renamings = get_model_conversion_mapping(original, add_legacy=False)
    return {rename_source_key(key, renamings, [])[0]: value for key, value in by_key.items()}


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(f"architecture {ARCHITECTURE} needs transformers: pip install '.[detr]'") from error
    return transformers
