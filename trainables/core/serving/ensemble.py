"""What a registered model runs: an ensemble read from safetensors and JSON, from bytes to probabilities, or to masks.

The folder holds ``ensemble.json`` and a checkpoint a model; a member that was cross-validated has several. MLflow loads
it through ``_load_pyfunc``, with a copy of this package stored beside it, so neither this repository nor a pickle is
needed.
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.config import SegmentationConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.device import resolve_device
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.classifier import Classifier
from trainables.core.serving.combine import Combination
from trainables.core.serving.image_input import decoded, given_images
from trainables.core.serving.mask_ensemble import MaskMember, ServedMasks
from trainables.core.serving.predict_classes import averaged, predict_probabilities, trained_classifier
from trainables.core.serving.predict_masks import trained_segmenter

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "ensemble.json"
_BATCH = 64
_ROI = "roi"


@dataclass(frozen=True)
class Member:
    """One trial of a served ensemble: the mean of models that take (B, S, S, channels) uint8 at their own size S."""

    models: Sequence[Classifier]
    image_size: int


class ServedEnsemble:
    """Members, how their probabilities are combined, and what each of them sees of an image."""

    def __init__(
        self,
        members: Sequence[Member],
        combination: Combination,
        views: str,
        class_names: tuple[str, ...],
        pixel_format: PixelFormat,
        roi: ServedMasks | None = None,
    ):
        self.roi = roi  # images are cut to what it sees, as they were for training
        self.members = members
        self.combination = combination
        self.views = views
        self.class_names = class_names
        self.pixel_format = pixel_format

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> "pd.DataFrame":  # noqa: ARG002
        """Class probabilities of images.

        Args:
            model_input: Images, as ``given_images`` takes them.
            params: Not used; MLflow passes it.

        Returns:
            One row an image, one float column a class, in class order.

        Raises:
            DataError: An image cannot be read; the message says which.
        """
        import pandas as pd

        images = given_images(model_input)
        parts = [self.probabilities(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        empty = np.zeros((0, len(self.class_names)), dtype=np.float32)
        return pd.DataFrame(np.concatenate([empty, *parts]), columns=list(self.class_names))

    def probabilities(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """(n, C) float32 probabilities of n images, each as ``given_images`` gives it."""
        sizes = {member.image_size for member in self.members}  # each image is decoded once a size
        boxes = self.roi.boxes(images, self.pixel_format.white) if self.roi else None
        pixels = {size: decoded(images, size, self.pixel_format, boxes) for size in sizes}
        everything = np.arange(len(images))
        of_members = [
            averaged(
                [
                    predict_probabilities(model, pixels[member.image_size], everything, views=self.views)
                    for model in member.models
                ]
            )
            for member in self.members
        ]
        return self.combination.apply(np.stack(of_members)).astype(np.float32)


def save_ensemble(
    folder: Path,
    members: Sequence[Sequence[Checkpoint]],
    combination: Combination,
    views: str = "none",
    roi: Path | None = None,
) -> None:
    """Writes the folder of a served ensemble.

    Args:
        folder: To be created.
        members: Of M members the checkpoints of their models, all of the same data set.
        combination: Of these M.
        views: A key of ``predict.VIEWS``.
        roi: The folder of the served segmentation to whose regions images are cut, which becomes a part of it.
    """
    folder.mkdir(parents=True)
    names: list[str | list[str]] = []
    for index, models in enumerate(members):
        member = f"member-{index}"
        parts = [member] if len(models) == 1 else [f"{member}-fold-{number}" for number in range(1, len(models) + 1)]
        for part, checkpoint in zip(parts, models, strict=True):
            _save_model(folder / part, checkpoint)
        names.append(member if len(models) == 1 else parts)
    manifest = {"members": names, "combination": combination.to_dict(), "views": views}
    if roi is not None:
        shutil.copytree(roi, folder / _ROI)
        manifest["roi"] = _ROI
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _save_model(folder: Path, checkpoint: Checkpoint) -> None:
    weights = {name: tensor for name, tensor in checkpoint.state.tensors.items() if name.startswith("model.")}
    save_checkpoint(folder, dataclasses.replace(checkpoint, state=TrainState(checkpoint.state.epoch, weights, {})))


def load_ensemble(folder: Path, device: torch.device | None = None) -> ServedEnsemble | ServedMasks:
    """Reads the folder that ``save_ensemble`` wrote; no code in it is run.

    Returns:
        What the members' task asks for.

    Raises:
        CheckpointError: A member is not whole, or there is none.
    """
    device = device or resolve_device("auto")
    manifest = json.loads((folder / MANIFEST).read_text())
    if not manifest["members"]:
        raise CheckpointError(f"{folder / MANIFEST} names no members")
    parts = [[names] if isinstance(names, str) else names for names in manifest["members"]]
    loaded = [[load_checkpoint(_inside(folder, part)) for part in of_member] for of_member in parts]
    first = loaded[0][0]
    combination = Combination.from_dict(manifest["combination"])
    if isinstance(first.config, SegmentationConfig):
        segmenters = [MaskMember(trained_segmenter(one, device), one.config.image_size) for (one,) in loaded]
        return ServedMasks(segmenters, combination.weights, first.class_names, first.pixel_format)
    members = [
        Member([trained_classifier(checkpoint, device) for checkpoint in checkpoints], checkpoints[0].config.image_size)
        for checkpoints in loaded
    ]
    roi = load_ensemble(_inside(folder, manifest["roi"]), device) if "roi" in manifest else None
    if isinstance(roi, ServedEnsemble):
        raise CheckpointError(f"{folder / manifest['roi']} must be a segmentation")
    return ServedEnsemble(members, combination, manifest["views"], first.class_names, first.pixel_format, roi)


def _inside(folder: Path, part: str) -> Path:
    """A member's folder, which is of the model and under its digest only if it lies in the model's own."""
    if (folder / part).resolve().parent != folder.resolve():
        raise CheckpointError(f"{folder / MANIFEST} must name folders beside it, but names {part!r}")
    return folder / part


def _load_pyfunc(path: str) -> ServedEnsemble | ServedMasks:
    """MLflow's entry point."""
    return load_ensemble(Path(path))
