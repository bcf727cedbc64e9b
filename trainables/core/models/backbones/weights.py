"""Weights of the original architectures: finding, checking and loading them before the model is cut into stages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.core.errors import WeightsError, first_line
from trainables.core.models.backbones.registry import (
    SCRATCH,
    TORCHVISION,
    create_model,
    create_sized_model,
    on_meta_device,
    pretrained_config,
)
from trainables.core.models.backbones.stages import classifier_names
from trainables.core.models.backbones.timm_internals import resample_weights

Shapes = dict[str, tuple[int, ...]]


def weights_remedy(name: str) -> str:
    """Return the remedy that error messages give when a backbone's pretrained weights are unavailable."""
    return f"put {_file_name(name)} in a folder and pass `--weights DIR`, or `--weights random`"


def _file_name(name: str) -> str:
    return f"{name.removeprefix(TORCHVISION)}.safetensors"


def download(name: str, image_size: int) -> nn.Module:
    """Build the architecture with the library's pretrained weights, from its cache or the hub.

    Raises:
        WeightsError: Neither has them.
    """
    try:
        if name.startswith(TORCHVISION):
            from torchvision.models import get_model, get_model_weights

            short = name.removeprefix(TORCHVISION)
            with _weights_only():
                model: nn.Module = get_model(short, weights=get_model_weights(short).DEFAULT, progress=False)
            return model
        _fail_fast_without_hub(pretrained_config(name).hf_hub_id)
        return create_sized_model(name, image_size, pretrained=True)
    except Exception as error:  # the clients of the hubs raise their own types, httpx's, urllib's, and OSError
        raise _download_error(name, error) from error


def download_file(name: str, repository: str) -> Path:
    """Return the safetensors file of a repository, from the hub's cache or the hub.

    Raises:
        WeightsError: Neither has it.
    """
    from huggingface_hub import hf_hub_download

    try:
        _fail_fast_without_hub(repository)
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # as in ``download``
        raise _download_error(name, error) from error


def _download_error(name: str, error: Exception) -> WeightsError:
    return WeightsError(f"cannot download the weights of {name} ({first_line(error)}): {weights_remedy(name)}")


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


def _fail_fast_without_hub(repository: str | None) -> None:
    """Raise at once if the hub is unreachable; huggingface_hub's own download retries for 46 s (version 2.4)."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    if not repository:
        return
    files = ("model.safetensors", "pytorch_model.bin")
    if not any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        with suppress(EntryNotFoundError):  # the hub answers, and the repository has the other file
            get_hf_file_metadata(hf_hub_url(repository, files[0]))


def weights_file(name: str, weights: str) -> Path | None:
    """Find a backbone's file if the weights are a folder, or return None.

    The name must be a checked one, which cannot contain a path out of the folder.

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
    remedy = "add the file, or choose by --backbone"
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
