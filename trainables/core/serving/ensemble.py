"""Files of an ensemble, and the loader of a registered model.

The folder holds ``ensemble.json`` and one checkpoint per model: one model per member, or one per fold if the member was
cross-validated. MLflow stores a copy of this package with the model and calls ``_load_pyfunc``. Loading needs neither
this repository nor a pickle.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

import trainables
from trainables.core.config import ClassificationConfig, MultiLabelConfig, SegmentationConfig, TrainConfig
from trainables.core.device import resolve_device
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, read_config, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.ensembles.classification_ensemble import ClassificationEnsemble
from trainables.core.serving.ensembles.multi_label_ensemble import MultiLabelEnsemble
from trainables.core.serving.ensembles.segmentation_ensemble import SegmentationEnsemble
from trainables.core.serving.ensembles.whole_image_ensemble import WholeImageEnsemble
from trainables.core.serving.training_features import TrainingFeatures

MANIFEST = "ensemble.json"
_CODE = Path("code", "trainables")  # MLflow's copy of this package, below the folder of a registered model
_ROI = "roi"
_FEATURES, _FEATURES_FILE = "training_features", "training_features.safetensors"
ENSEMBLES: dict[str, type[WholeImageEnsemble | SegmentationEnsemble]] = {
    ClassificationConfig.task: ClassificationEnsemble,
    SegmentationConfig.task: SegmentationEnsemble,
    MultiLabelConfig.task: MultiLabelEnsemble,
}


def save_ensemble(
    folder: Path,
    members: Sequence[Sequence[Checkpoint]],
    combination: Combination,
    views: str = "none",
    roi: Path | None = None,
    training_features: TrainingFeatures | None = None,
) -> None:
    """Write an ensemble's folder.

    Args:
        folder: Folder to create.
        members: Checkpoints of each member's models, all trained on the same data set.
        combination: Rule that combines the members.
        views: Key of ``predict_classes.VIEWS``.
        roi: Folder of the segmentation that images are cropped with, which is copied; None to use whole images.
        training_features: Features of training images, of the same members; None to store none.
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
    if training_features is not None:
        manifest[_FEATURES] = _FEATURES_FILE
        training_features.save(folder / _FEATURES_FILE)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _save_model(folder: Path, checkpoint: Checkpoint) -> None:
    """Save a checkpoint without the optimizer's state."""
    weights = {name: tensor for name, tensor in checkpoint.state.tensors.items() if name.startswith("model.")}
    save_checkpoint(folder, dataclasses.replace(checkpoint, state=TrainState(checkpoint.state.epoch, weights, {})))


def load_ensemble(folder: Path, device: torch.device | None = None) -> Ensemble:
    """Load the ensemble that ``save_ensemble`` wrote, without running any code from the folder.

    Raises:
        CheckpointError: The ensemble has no members, or its files are incomplete or invalid.
    """
    device = device or resolve_device("auto")
    manifest = json.loads((folder / MANIFEST).read_text())
    if not manifest["members"]:
        raise CheckpointError(f"{folder / MANIFEST} names no members")
    parts = [[names] if isinstance(names, str) else names for names in manifest["members"]]
    members = [[load_checkpoint(_part(folder, name)) for name in names] for names in parts]
    kind = ENSEMBLES[members[0][0].config.task]
    combination = kind.combination_kind.from_dict(manifest["combination"])
    roi = load_ensemble(_part(folder, manifest["roi"]), device) if "roi" in manifest else None
    ensemble = kind(members, combination, manifest["views"], roi, device)
    if _FEATURES in manifest:
        ensemble.training_features = TrainingFeatures.load(_part(folder, manifest[_FEATURES]))
    return ensemble


def stored_configs(folder: Path) -> list[TrainConfig]:
    """Return the configurations of all models of an ensemble, including the segmentation that images are cropped with.

    Raises:
        CheckpointError: The ensemble's files are incomplete.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    names = [name for names in manifest["members"] for name in ([names] if isinstance(names, str) else names)]
    roi = stored_configs(_part(folder, manifest["roi"])) if "roi" in manifest else []
    return [read_config(_part(folder, name)) for name in names] + roi


def _part(folder: Path, name: str) -> Path:
    """Return a part of the ensemble's folder; a path elsewhere would not be covered by the ensemble's digest."""
    if (folder / name).resolve().parent != folder.resolve():
        raise CheckpointError(f"{folder / MANIFEST} must name folders beside it, but names {name!r}")
    return folder / name


def _load_pyfunc(path: str) -> Ensemble:
    """Load the ensemble; MLflow's entry point."""
    _check_code(Path(path).parents[1] / _CODE)
    return load_ensemble(Path(path))


def _check_code(own: Path) -> None:
    """Raise CheckpointError if another model's copy of this package runs, and differs from this model's own copy.

    A process imports a package once: of two models, the second one would run with the code of the first.
    """
    running = Path(trainables.__file__).parent
    is_of_another_model = running != own and (running.parents[1] / "MLmodel").is_file()
    if is_of_another_model and own.is_dir() and _code_digest(own) != _code_digest(running):
        raise CheckpointError(
            f"this process runs the code of another model, {running.parents[1]}, which differs from that of "
            f"{own.parents[1]}: load each of the two models in a process of its own"
        )


def _code_digest(package: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()
