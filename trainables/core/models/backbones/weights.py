"""Finding, checking and loading the weights of an original architecture, before it is cut into stages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.core.config import SCRATCH
from trainables.core.errors import WeightsError, first_line
from trainables.core.hub.downloads import model_file, url_file
from trainables.core.hub.failures import HubError
from trainables.core.models.backbones.registry import (
    TORCHVISION,
    create_model,
    create_sized_model,
    on_meta_device,
    pretrained_config,
    torchvision_weights,
)
from trainables.core.models.backbones.stages import classifier_names
from trainables.core.models.backbones.timm_internals import resample_weights

Shapes = dict[str, tuple[int, ...]]
# Names of timm's files on the hub, in its own order of preference.
_TIMM_FILES = ("model.safetensors", "pytorch_model.bin")


def weights_remedy(name: str) -> str:
    """Return the remedy that error messages give when a backbone's pretrained weights are unavailable."""
    return f"put {_file_name(name)} in a folder and pass `--weights DIR`, or `--weights random`"


def _file_name(name: str) -> str:
    return f"{name.removeprefix(TORCHVISION)}.safetensors"


def download(name: str, image_size: int, **timm_options: Any) -> nn.Module:
    """Build the architecture with the library's pretrained weights, from its cache or the hub.

    Only timm models take options.

    Raises:
        HubError: They are in neither place.
        WeightsError: They do not fit.
    """
    file = download_file(name)
    try:
        return _with_weights(name, file, image_size, **timm_options)
    except Exception as error:  # the libraries raise different types for keys, shapes and formats
        why = first_line(error)
        raise WeightsError(f"cannot load the weights of {name} ({why}): {weights_remedy(name)}") from error


def _with_weights(name: str, file: Path, image_size: int, **timm_options: Any) -> nn.Module:
    if name.startswith(TORCHVISION):
        from torchvision.models import get_model

        with _weights_only():
            model: nn.Module = get_model(name.removeprefix(TORCHVISION), weights=torchvision_weights(name))
        return model
    # Without a file, timm asks the hub even for cached weights. Files on the hub have timm's own format, also those of
    # models that are marked as `custom_load`.
    source = {"file": str(file), "custom_load": False}
    # Without its classifier timm would accept a file that lacks keys, and leave their tensors random.
    classes = pretrained_config(name).num_classes
    pretrained = {"num_classes": classes, "pretrained": True, "pretrained_cfg_overlay": source}
    model = create_sized_model(name, image_size, **pretrained, **timm_options)
    reset: Any = model.reset_classifier
    reset(0)
    return model


def download_file(name: str, repository: str | None = None) -> Path:
    """Return the file of pretrained weights, from the cache of its library or the hub.

    Args:
        name: Name of the backbone or, with a repository, of the network.
        repository: Repository of a file ``model.safetensors`` on the hub; None for the backbone's own source.

    Raises:
        HubError: It is in neither place, or the cached file is damaged.
    """
    try:
        if repository is not None:
            return model_file(repository)
        if name.startswith(TORCHVISION):
            return url_file(torchvision_weights(name).url)
        config = pretrained_config(name)
        return model_file(config.hf_hub_id, _TIMM_FILES) if config.hf_hub_id else url_file(config.url)
    except HubError as error:
        raise HubError(f"cannot download the weights of {name}: {error}; or {weights_remedy(name)}") from error


@contextmanager
def _weights_only() -> Iterator[None]:
    """Make ``torch.load`` refuse pickled code within the block; torchvision (0.29) allows it, timm does not."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def weights_file(name: str, weights: str) -> Path | None:
    """Find a backbone's file if the weights are a folder, or return None.

    ``name`` must have been checked, so that it cannot contain a path out of the folder.

    Raises:
        WeightsError: The folder, or the backbone's file in it, does not exist.
    """
    if weights in ("pretrained", "random"):
        return None
    folder = Path(weights)
    if not folder.is_dir():
        raise WeightsError(f"weights must be `pretrained`, `random` or a folder, but there is no folder {weights!r}")
    file = folder / _file_name(name)
    if file.is_file():
        return file
    if name == SCRATCH:
        return None
    present = ", ".join(sorted(path.name for path in folder.glob("*.safetensors"))) or "no .safetensors file"
    remedy = "add the file, or choose other backbones with --backbone"
    raise WeightsError(f"{folder} has no {file.name} for backbone {name}; it has {present}: {remedy}")


def check_file(name: str, file: Path) -> None:
    """Compare a file's header with the architecture at its native size, ignoring the classifier.

    Raises:
        WeightsError: A key or a shape differs.
    """
    model = on_meta_device(lambda: create_model(name))
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    stored, expected = (
        {key: shape for key, shape in shapes.items() if not _in_classifier(key, model)}
        for shapes in (read_shapes(file), expected)
    )
    check_shapes(name, file, stored, expected)


def check_shapes(name: str, file: Path, stored: Shapes, expected: Shapes) -> None:
    """Compare the keys and shapes stored in a file with the expected ones.

    Raises:
        WeightsError: One differs; the message names the first.
    """
    for key in [*expected, *sorted(stored.keys() - expected.keys())]:
        if key not in stored:
            raise WeightsError(f"{file}: key {key} of {name} is missing")
        if key not in expected:
            raise WeightsError(f"{file}: unexpected key {key}, which {name} does not have")
        if stored[key] != expected[key]:
            raise WeightsError(f"{file}: {key} has shape {stored[key]}, but {name} needs {expected[key]}")


def read_shapes(file: Path) -> Shapes:
    """Read the shapes of a file's tensors by name, from its header.

    Raises:
        WeightsError: The file is not a safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as header:
            return {key: tuple(header.get_slice(key).get_shape()) for key in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is not a readable safetensors file: {first_line(error)}") from error


def _in_classifier(key: str, model: nn.Module) -> bool:
    return key.startswith(tuple(f"{name}." for name in classifier_names(model)))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a checked file by their original names."""
    tensors: dict[str, Tensor] = load_file(file)
    return tensors


def load_weights(model: nn.Module, file: Path) -> None:
    """Load a checked file into the original architecture, before it is cut.

    Raises:
        WeightsError: The tensors do not fit the image size that the model was built for.
    """
    tensors = {key: tensor for key, tensor in read_tensors(file).items() if not _in_classifier(key, model)}
    own = model.state_dict()
    if any(key in own and tensor.shape != own[key].shape for key, tensor in tensors.items()):
        tensors = resample_weights(model, tensors)  # the model was built for another image size
    missing = [key for key in own if key not in tensors and not _in_classifier(key, model)]
    if missing:
        raise WeightsError(f"{file} does not fit at this image size: timm's resampling dropped key {missing[0]}")
    # update the state dict rather than pass a new one: it carries torch's version metadata
    own.update({key: tensor for key, tensor in tensors.items() if key in own})
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise WeightsError(f"{file} does not fit at this image size: {' '.join(str(error).split())}") from error
