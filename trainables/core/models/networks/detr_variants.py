"""The variants of DETR: their original models from the transformers library, and checks and files of their weights.

This is the only file that uses transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trainables.core.errors import ConfigError, WeightsError, install_extra
from trainables.core.models.backbones.registry import on_meta_device
from trainables.core.models.backbones.weights import (
    check_shapes,
    download_file,
    read_shapes,
    read_tensors,
    weights_file,
    weights_remedy,
)

DETR = "detr"
_STRIDE = 32  # pixels of the image to one of the encoder's last map
_T = TypeVar("_T")


@dataclass(frozen=True)
class Variant:
    """A DETR model.

    Attributes:
        encoder: timm's name of its encoder.
        repository: Repository of its weights on the hub; None without pretrained weights.
        options: Options that differ from the defaults of ``transformers.DetrConfig``.
    """

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


def check_detr(architecture: str, name: str, weights: str, image_size: int) -> None:
    """Check a DETR's configuration and, by its header, its file of weights, without reading or downloading weights.

    Raises:
        ConfigError: Only one of architecture and backbone is DETR's, the images are too small, or the transformers
            library is missing.
        WeightsError: The weights do not exist or do not fit.
    """
    if architecture != DETR or name not in VARIANTS:
        names = " or ".join(VARIANTS)
        rule = f"architecture {DETR} and backbone {names} must be used together"
        remedy = "choose another --backbone or architecture"
        raise ConfigError(f"{rule}, but got {architecture} on {name}: {remedy}")
    if image_size <= _STRIDE:  # with a single position to attend to, all queries stay equal
        raise ConfigError(f"{DETR} needs images of more than {_STRIDE} pixels, but got image_size={image_size}")
    _import_transformers()
    if weights == "pretrained" and VARIANTS[name].repository is None:
        raise WeightsError(f"{name} has no pretrained weights: {weights_remedy(name)}")
    file = weights_file(name, weights)
    if file is not None:
        _check_file(name, file)


def detr_file(name: str, weights: str) -> Path | None:
    """Return the file of a checked DETR's weights, downloaded if ``pretrained``; None for ``random``.

    Raises:
        HubError: The file cannot be downloaded.
        WeightsError: It does not exist or does not fit.
    """
    repository = VARIANTS[name].repository
    if weights != "pretrained" or repository is None:
        return weights_file(name, weights)
    file = download_file(name, repository)
    _check_file(name, file)
    return file


def build_original(name: str, num_outputs: int) -> Any:
    """Build the model of transformers with random weights, without contacting the hub."""
    variant = VARIANTS[name]
    encoder = {"model_type": "timm_backbone", "backbone": variant.encoder, "features_only": True}
    transformers = _import_transformers()
    config = transformers.DetrConfig(
        num_labels=num_outputs, backbone_config=encoder | {"out_indices": [-4, -3, -2, -1]}, **variant.options
    )
    model = transformers.DetrForSegmentation(config)
    _initialise(model)
    return model


def load_original(original: nn.Module, file: Path) -> None:
    """Load the tensors of a checked file, except those that are not reused."""
    tensors = _renamed(read_tensors(file), original)
    original.load_state_dict({key: tensors[key] for key in _reused_tensors(original)}, strict=False)


@torch.no_grad()
def _initialise(original: Any) -> None:
    """Initialise parameters as DETR's authors do; by transformers' own rule the queries stay nearly equal."""
    for part in (original.detr.model.encoder, original.detr.model.decoder):
        for parameter in part.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
    nn.init.normal_(original.detr.model.query_position_embeddings.weight)
    original.detr.class_labels_classifier.reset_parameters()


def _check_file(name: str, file: Path) -> None:
    model = on_meta_device(lambda: build_original(name, 1))
    expected = {key: tuple(tensor.shape) for key, tensor in _reused_tensors(model).items()}
    stored = _renamed(read_shapes(file), model)
    check_shapes(name, file, {key: stored[key] for key in stored if key in expected}, expected)


def _reused_tensors(original: nn.Module) -> dict[str, Tensor]:
    """Select the tensors to take from the original's weights: all but the classifier and boxes of the queries."""
    replaced = ("detr.class_labels_classifier.", "detr.bbox_predictor.")
    return {key: tensor for key, tensor in original.state_dict().items() if not key.startswith(replaced)}


def _renamed(by_key: Mapping[str, _T], original: nn.Module) -> dict[str, _T]:
    """Rename the keys of the hub's file to those of the installed transformers.

    Both functions are undocumented. The public ``from_pretrained`` renames too, but it ignores missing keys.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import rename_source_key

    renamings = get_model_conversion_mapping(original, add_legacy=False)
    return {rename_source_key(key, renamings, [])[0]: value for key, value in by_key.items()}


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(f"architecture {DETR} needs transformers: {install_extra('detr')}") from error
    return transformers
