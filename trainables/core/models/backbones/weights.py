"""Weights of the original architectures: found, checked against the architecture, loaded before it is cut."""

import os
import sys
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
    create,
    sized,
    timm_config,
    without_weights,
)
from trainables.core.models.backbones.stages import classifier_names

Shapes = dict[str, tuple[int, ...]]


def way_out(name: str) -> str:
    """What to do where a backbone's pretrained weights are not to be had."""
    return f"put {_file_name(name)} in a folder and pass `--weights DIR`, or `--weights random`"


def _file_name(name: str) -> str:
    return f"{name.removeprefix(TORCHVISION)}.safetensors"


def download(name: str, image_size: int) -> nn.Module:
    """Builds the architecture with the library's own pretrained weights, from its cache or from the hub.

    Raises:
        WeightsError: Neither has them.
    """
    try:
        if name.startswith(TORCHVISION):
            from torchvision.models import get_model, get_model_weights

            short = name.removeprefix(TORCHVISION)
            with _without_code():
                model: nn.Module = get_model(short, weights=get_model_weights(short).DEFAULT, progress=False)
            return model
        _ask_hub_once(timm_config(name).hf_hub_id)
        return sized(name, image_size, pretrained=True)
    except Exception as error:  # the hubs' clients raise their own errors, those of httpx and urllib, and OSError
        raise _no_hub(name, error) from error


def download_file(name: str, repository: str) -> Path:
    """The safetensors file of a repository, from the hub's cache or from the hub.

    Raises:
        WeightsError: Neither has it.
    """
    from huggingface_hub import hf_hub_download

    try:
        _ask_hub_once(repository)
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # as above
        raise _no_hub(name, error) from error


def _no_hub(name: str, error: Exception) -> WeightsError:
    return WeightsError(f"{name}: no hub reached ({first_line(error)}); {way_out(name)}")


@contextmanager
def _without_code() -> Iterator[None]:
    """Within the block ``torch.load`` runs nothing that it reads, which torchvision (0.29) lets it, timm does not."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _ask_hub_once(repository: str | None) -> None:
    """Fail at once where there is no hub: huggingface_hub's own download retries for 46 s (version 2.4)."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    if not repository:
        return
    files = ("model.safetensors", "pytorch_model.bin")
    if not any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        with suppress(EntryNotFoundError):  # then it is the other one, and the hub is there
            get_hf_file_metadata(hf_hub_url(repository, files[0]))


def weights_file(name: str, weights: str) -> Path | None:
    """Find a backbone's file if the weights are a folder; the name is a known one, so it cannot leave the folder."""
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
    """Compare the file's header with the architecture at its native size, classifiers aside."""
    model = without_weights(lambda: create(name))
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    found, expected = (
        {key: shape for key, shape in some.items() if not _is_classifiers(key, model)}
        for some in (shapes(file), expected)
    )
    check_shapes(name, file, found, expected)


def check_shapes(name: str, file: Path, found: Shapes, expected: Shapes) -> None:
    """Raise WeightsError with the first key of a file that is not the architecture's."""
    for key in [*expected, *sorted(found.keys() - expected.keys())]:
        if key not in found:
            raise WeightsError(f"{file}: key {key} of {name} is missing")
        if key not in expected:
            raise WeightsError(f"{file}: unexpected key {key}, which {name} does not have")
        if found[key] != expected[key]:
            raise WeightsError(f"{file}: {key} has shape {found[key]}, but {name} needs {expected[key]}")


def shapes(file: Path) -> Shapes:
    """The shapes of a file's tensors by their names, from its header.

    Raises:
        WeightsError: It is not safetensors.
    """
    try:
        with safe_open(file, framework="pt") as header:
            return {key: tuple(header.get_slice(key).get_shape()) for key in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is not a readable safetensors file: {first_line(error)}") from error


def _is_classifiers(key: str, model: nn.Module) -> bool:
    return key.startswith(tuple(f"{name}." for name in classifier_names(model)))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a checked file by their original names."""
    tensors: dict[str, Tensor] = load_file(file)
    return tensors


def load(model: nn.Module, file: Path) -> None:
    """Load a checked file into the original architecture, before it is cut."""
    tensors = {key: tensor for key, tensor in read_tensors(file).items() if not _is_classifiers(key, model)}
    own = model.state_dict()
    if any(key in own and tensor.shape != own[key].shape for key, tensor in tensors.items()):
        # built for another image size: timm keeps what resamples the positions beside the model's class
        resample = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        tensors = resample(tensors, model) if resample else tensors
    missing = [key for key in own if key not in tensors and not _is_classifiers(key, model)]
    if missing:
        raise WeightsError(f"{file} does not fit at this image size: timm's resampling dropped key {missing[0]}")
    own.update({key: tensor for key, tensor in tensors.items() if key in own})  # own: has torch's version metadata
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise WeightsError(f"{file} does not fit at this image size: {' '.join(str(error).split())}") from error
