"""Backbones: a list of stages from images to pooled features, of which the first d can be frozen.

Names are timm's (`resnet18`, `resnet50.a1_in1k`), `torchvision:NAME`, or `scratch_cnn`. Where the weights come from:

* `pretrained`: what timm and torchvision download by default;
* `random`: the library's own initialisation, from torch's global random state;
* a folder: `FOLDER/<name without "torchvision:">.safetensors`, with the keys of the original architecture at its
  native image size; the classifier's keys may be absent. Only safetensors are read, never pickles.

`scratch_cnn` exists to be trained from random weights: with `pretrained`, or a folder that has no file of it, it is.
"""

import difflib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.core.errors import ConfigError, UserError, WeightsError
from trainables.core.models.stages import WholeModel, classifier_names, cut, scratch_cnn

SCRATCH = "scratch_cnn"
TORCHVISION = "torchvision:"


class Backbone(nn.Module):
    """Stages that run in order, from images to pooled features.

    Args:
        stages: S modules; the last one ends with the pooling.
        num_features: F, the length of the feature vector.
        mean: What to subtract from each channel of an image in 0..1, as the weights were trained.
        std: What to divide by afterwards.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        num_features: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.num_features = num_features
        self.mean = mean
        self.std = std
        self.frozen_depth = 0
        # a few models have constant parameters (sine-cosine positions), which unfreezing must leave alone
        self._constants = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}

    @property
    def depth(self) -> int:
        """S, the number of stages."""
        return len(self.stages)

    @property
    def is_cut(self) -> bool:
        """Whether each stage computes its own part of the model.

        If not, all the work is in the last stage, and the output of any shorter prefix is just the images.
        """
        return not isinstance(self.stages[-1], WholeModel)

    def freeze(self, depth: int) -> None:
        """Freeze the first `depth` stages, and unfreeze the others.

        Frozen stages get no gradients, and stay in eval mode: neither their parameters nor their buffers (the
        statistics of batch norm) move.

        Raises:
            ConfigError: `depth` is outside 0..S.
        """
        if not 0 <= depth <= self.depth:
            raise ConfigError(f"freeze depth must be within 0..{self.depth}, the backbone's stages, but got {depth}")
        training = self.training
        self.frozen_depth = depth
        for name, parameter in self.named_parameters():
            stage = int(name.split(".")[1])  # "stages.<number>. ..."
            parameter.requires_grad_(stage >= depth and name not in self._constants)
        self.train(training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the stages that are not frozen; the frozen ones stay in eval mode."""
        super().train(mode)
        for stage in list(self.stages)[: self.frozen_depth]:
            stage.eval()
        return self

    def prefix(self, images: Tensor) -> Tensor:
        """Run the frozen stages, without gradients: (B, 3, H, W) float to whatever the next stage takes."""
        x = images
        with torch.no_grad():
            for stage in list(self.stages)[: self.frozen_depth]:
                x = stage(x)
        return x

    def rest(self, x: Tensor) -> Tensor:
        """Run the stages that are not frozen: what `prefix` gave to (B, F) float features."""
        for stage in list(self.stages)[self.frozen_depth :]:
            x = stage(x)
        return x

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, 3, H, W) float images, already normalised, into (B, F) float features."""
        return self.rest(self.prefix(images))


def build_backbone(name: str, weights: str, image_size: int) -> Backbone:
    """Build a backbone on the CPU, with nothing frozen; random weights come from torch's global random state.

    A torchvision model keeps the dropout that its classifier has before the last layer; timm's have none there.

    Args:
        name: As the module's docstring says.
        weights: `pretrained`, `random` or a folder.
        image_size: Height and width of the images in pixels; transformers of a fixed size are built for it, and
            their pretrained positions are resampled to it as timm does.

    Raises:
        WeightsError: The name is unknown, or its weights are not to be had or do not fit.
        ConfigError: The backbone cannot take images of that size.
    """
    check_weights(name, weights)
    num_features = _num_features(name, image_size)
    model = _download(name, image_size) if weights == "pretrained" and name != SCRATCH else _sized(name, image_size)
    file = _weights_file(name, weights)
    if file is not None:
        _load(model, file)
    mean, std = _normalisation(model)
    return Backbone(cut(model), num_features, mean, std)


@cache
def stage_count(name: str) -> int:
    """Count the stages S of a backbone, without making its weights.

    Raises:
        WeightsError: The name is unknown.
    """
    _check_name(name)
    return len(cut(_without_weights(lambda: _create(name, num_classes=0))))


def check_weights(name: str, weights: str) -> None:
    """Check all that can be known about weights without reading or downloading them.

    For a folder: that it has the backbone's file, and by the file's header that keys and shapes are the
    architecture's. For `pretrained`: that there are such weights at all.

    Raises:
        WeightsError: One of these does not hold; the message names the first key that differs.
    """
    _check_name(name)
    file = _weights_file(name, weights)
    if file is not None:
        _check_file(name, file)
    if weights == "pretrained" and name != SCRATCH and not name.startswith(TORCHVISION):
        config = _timm_config(name)
        if config is None or not config.has_weights:
            raise WeightsError(f"timm has no pretrained weights for {name}: {_way_out(name)}")


# --- names and architectures ------------------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    known = _known_names(tags="." in name)
    if name not in known:
        matches = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {', '.join(matches)}?" if matches else "see timm.list_models()"
        raise WeightsError(f"unknown backbone {name!r}: {hint}")


@cache
def _known_names(*, tags: bool) -> frozenset[str]:
    import timm
    from torchvision import models

    timm_names = timm.list_models(pretrained=True) if tags else timm.list_models()
    return frozenset([SCRATCH, *timm_names, *(TORCHVISION + name for name in models.list_models(module=models))])


def _create(name: str, **timm_options: Any) -> nn.Module:
    """Build the original architecture with random weights; only timm's models have options."""
    if name == SCRATCH:
        return scratch_cnn()
    model: nn.Module
    if name.startswith(TORCHVISION):
        from torchvision.models import get_model

        model = get_model(name.removeprefix(TORCHVISION), weights=None)
    else:
        import timm

        model = timm.create_model(name, **timm_options)
    return model


def _sized(name: str, image_size: int, **timm_options: Any) -> nn.Module:
    """Build the architecture for a size of images, and in timm's case without its classifier."""
    config = None if name == SCRATCH or name.startswith(TORCHVISION) else _timm_config(name)
    if config is not None and config.fixed_input_size:
        timm_options["img_size"] = image_size
    return _create(name, num_classes=0, **timm_options)


def _without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model of shapes only, on the meta device; the global random state stays as it is."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # torchvision's RegNets compute their widths from tensors: these need values
        with torch.random.fork_rng(devices=[]):
            return build().to("meta")


def _timm_config(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name)


@cache
def _num_features(name: str, image_size: int) -> int:
    """Run the model on a meta tensor (shapes only): F, and whether it takes such images at all."""
    try:
        stages = cut(_without_weights(lambda: _sized(name, image_size)))
        with torch.no_grad():
            images = torch.empty(1, 3, image_size, image_size, device="meta")
            shape = tuple(nn.Sequential(*stages).eval()(images).shape)
    except UserError:
        raise
    except Exception as error:  # each architecture has its own way to say so
        size = f"{image_size} x {image_size} pixels"
        raise ConfigError(f"backbone {name} cannot take images of {size}: {_first_line(error)}") from error
    if len(shape) != 2:
        raise WeightsError(f"backbone {name} gives features of shape {shape}, not one pooled vector per image")
    return int(shape[1])


def _normalisation(model: nn.Module) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    if isinstance(model, nn.Sequential):
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    config: Any = getattr(model, "pretrained_cfg", {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD})
    return tuple(config["mean"]), tuple(config["std"])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


# --- weights ----------------------------------------------------------------------------------------------------------


def _way_out(name: str) -> str:
    return f"put {_file_name(name)} in a folder and pass `--weights DIR`, or `--weights random`"


def _file_name(name: str) -> str:
    return f"{name.removeprefix(TORCHVISION)}.safetensors"


def _download(name: str, image_size: int) -> nn.Module:
    try:
        if name.startswith(TORCHVISION):
            from torchvision.models import get_model, get_model_weights

            short = name.removeprefix(TORCHVISION)
            model: nn.Module = get_model(short, weights=get_model_weights(short).DEFAULT, progress=False)
            return model
        _ask_hub_once(_timm_config(name).hf_hub_id)
        return _sized(name, image_size, pretrained=True)
    except Exception as error:  # the hubs' clients raise their own errors, those of httpx and urllib, and OSError
        raise WeightsError(f"{name}: no hub reached ({_first_line(error)}); {_way_out(name)}") from error


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


def _weights_file(name: str, weights: str) -> Path | None:
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
    raise WeightsError(f"{folder} has no {file.name} for backbone {name}; it has {present}")


def _check_file(name: str, file: Path) -> None:
    """Compare the file's header with the architecture at its native size."""
    model = _without_weights(lambda: _create(name))
    found = _shapes(file)
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    for key in [*expected, *sorted(found.keys() - expected.keys())]:
        if _is_classifiers(key, model) or found.get(key) == expected.get(key):
            continue
        if key not in found:
            raise WeightsError(f"{file}: key {key} of {name} is missing")
        if key not in expected:
            raise WeightsError(f"{file}: unexpected key {key}, which {name} does not have")
        raise WeightsError(f"{file}: {key} has shape {found[key]}, but {name} needs {expected[key]}")


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, framework="pt") as header:
            return {key: tuple(header.get_slice(key).get_shape()) for key in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is not a readable safetensors file: {_first_line(error)}") from error


def _is_classifiers(key: str, model: nn.Module) -> bool:
    return key.startswith(tuple(f"{name}." for name in classifier_names(model)))


def _load(model: nn.Module, file: Path) -> None:
    """Load a checked file into the original architecture, before it is cut."""
    tensors = {key: tensor for key, tensor in load_file(file).items() if not _is_classifiers(key, model)}
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
