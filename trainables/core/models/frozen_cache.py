"""The outputs of a backbone's frozen stages: a pure function of the image, computed once a node and then read.

They lie in the node's store under a key of all they depend on, where every trial and process finds them. They are kept
where that pays: computing one must cost far more than reading it.
"""

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.data.batches import Table, as_tensor, batches, fits
from trainables.core.data.dataset import Dataset
from trainables.core.device import autocast, resolve_precision
from trainables.core.errors import describe
from trainables.core.models.backbones.uncut import ParameterGroup
from trainables.core.models.networks.classifier import Classifier
from trainables.core.node_cache import StoreFullError, map_array, write_array

if TYPE_CHECKING:
    from trainables.core.config import ClassificationConfig

# Part of every key: raise it whenever the same backbone would be cut or normalised otherwise.
PREFIX_VERSION = 1
BATCH = 64
MEASURED_ON_CPU = 16  # images; a GPU is measured with whole batches, which it needs to be busy
# Computing must cost this many times more than reading and writing: timings on shared machines are rough.
MARGIN = 3.0
# Of the machine's memory, beyond which the page cache cannot be counted on and reading means the disk.
MEMORY_SHARE = 0.5

logger = logging.getLogger("trainables")
Variant = Callable[[Tensor], Tensor]


def _as_it_is(images: Tensor) -> Tensor:
    return images


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(2)


# What an augmentation policy can make of (B, S, S, channels) images, where that is a small closed set.
ORBITS: dict[str, tuple[Variant, ...]] = {"none": (_as_it_is,), "flip": (_as_it_is, _mirrored)}


@dataclass(frozen=True)
class Cost:
    """Of one image's output: its bytes, and the seconds it takes to compute, to write and to read it.

    Zero bytes stand for outputs that are never stored: not one tensor with a row an image, or the image itself.
    """

    size: int
    compute: float
    write: float
    read: float

    def pays(self, variants: int, epochs: int) -> bool:
        """Whether storing every variant of an image saves time over ``epochs``, by a wide margin.

        Without the store each epoch computes one output, so the first of the variants costs nothing extra.
        """
        saved = self.compute * (epochs - variants + 1)
        return self.size > 0 and saved > MARGIN * (self.write * variants + self.read * epochs)


class FrozenPrefix:
    """The frozen stages of a classifier as they are now, on one data set, device and precision."""

    def __init__(self, model: Classifier, config: "ClassificationConfig", data: Dataset, device: torch.device):
        self._model, self._config, self._data, self._device = model, config, data, device
        self._precision = resolve_precision(config.precision, device)

    def table(self, indices: NDArray[np.int64], variants: Sequence[Variant] = (_as_it_is,)) -> Table | None:
        """The outputs of images, computed now if no process on this node has done so before.

        Args:
            indices: (n,) which images of the data set.
            variants: V functions of a batch of images.

        Returns:
            V x n rows on the CPU, mapped from the store: ``indices`` in order, once a variant. None where storing does
            not pay or there is no room for it.
        """
        chosen = hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8").tobytes()).hexdigest()[:16]
        key = f"prefix-{self._key}-{chosen}-{'-'.join(variant.__name__ for variant in variants)}"
        store = self._data.open_store()
        targets = torch.from_numpy(np.tile(self._data.labels[indices], len(variants)))
        rows = store.find(key, _read)
        try:
            if rows is None:
                images = self._data.images(self._config.image_size)  # mapped: they are not evicted to make room
                measure = partial(self._measure, images, indices)
                cost = store.read(f"prefix-{self._key}-cost", measure, _read_cost, size=1000)
                if not self._worth(cost, len(indices), len(variants), store.limit):
                    return None
                size = cost.size * len(targets)
                rows = store.read(key, partial(self._write, images, indices, variants), _read, size)
        except (StoreFullError, OSError) as error:
            logger.warning("%s: computed anew each epoch: %s", self._name, describe(error))
            return None
        return Table(rows.outputs, targets, rows.channels_last)

    @cached_property
    def _key(self) -> str:
        import timm
        import torchvision

        depends_on = {
            "version": PREFIX_VERSION,
            "images": self._data.images_key(self._config.image_size),
            "backbone": self._config.backbone,
            "depth": self._config.freeze_depth,
            "tensors": _digest(self._model),
            "precision": self._precision,
            "device": self._device.type,
            "libraries": [torch.__version__, timm.__version__, torchvision.__version__],
        }
        return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:32]

    @property
    def _name(self) -> str:
        backbone = self._model.backbone
        return f"frozen prefix of {self._config.backbone} ({backbone.frozen_depth} of {backbone.depth} stages)"

    def _worth(self, cost: Cost, images: int, variants: int, limit: int) -> bool:
        """Decides, and logs why."""
        size = cost.size * images * variants
        memory = MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if fits(size, self._device):  # then reading costs nothing beside any computation
            cost = dataclasses.replace(cost, read=0.0)
        worth = cost.pays(variants, self._config.epochs) and size <= min(limit, memory)
        logger.info(
            "%s, %d images: %s: %.3f ms to compute one, %.3f to read it; %.1f MB, of %.1f that may be cached",
            self._name,
            images,
            "stored" if worth else "computed anew each epoch",
            cost.compute * 1e3,
            cost.read * 1e3,
            size / 1e6,
            min(limit, memory) / 1e6,
        )
        return worth

    @torch.no_grad()
    def _run(self, pixels: Tensor) -> Any:
        with autocast(self._precision, self._device):
            return self._model.prefix(pixels.to(self._device))

    def _write(
        self, images: NDArray[np.uint8], indices: NDArray[np.int64], variants: Sequence[Variant], folder: Path
    ) -> None:
        computed = (
            self._run(variant(torch.from_numpy(images[indices[start : start + BATCH]])))
            for variant in variants
            for start in range(0, len(indices), BATCH)
        )
        _write_rows(folder, computed, len(indices) * len(variants))

    def _measure(self, images: NDArray[np.uint8], indices: NDArray[np.int64], folder: Path) -> None:
        """Times a batch and writes the ``Cost`` into the folder."""
        count = min(len(indices), MEASURED_ON_CPU if self._device.type == "cpu" else BATCH)
        pixels = torch.from_numpy(images[indices[:count]])
        outputs, cost = self._run(pixels), Cost(0, 0.0, 0.0, 0.0)
        frozen = self._model.backbone.stages[: self._model.backbone.frozen_depth]
        computes = any(type(stage) is not ParameterGroup for stage in frozen)
        if computes and isinstance(outputs, Tensor) and len(outputs) == count:
            compute = self._seconds(lambda: self._run(pixels)) / count
            write = self._seconds(lambda: _write_rows(folder, iter([outputs]), count)) / count
            rows, order = _read(folder), np.random.default_rng(0).permutation(count)
            table = Table(rows.outputs, torch.zeros(count, dtype=torch.int64), rows.channels_last)
            read = self._seconds(lambda: next(batches(table, order, count))[0].to(self._device)) / count
            cost = Cost(outputs.nbytes // count, compute, write, read)
            (folder / _OUTPUTS).unlink()
        (folder / _COST).write_text(json.dumps(dataclasses.asdict(cost)))

    def _seconds(self, run: Callable[[], Any]) -> float:
        """The shortest of three: what disturbs a timing only makes it longer."""
        taken = []
        for _ in range(3):
            started = time.perf_counter()
            run()
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            taken.append(time.perf_counter() - started)
        return min(taken)


_OUTPUTS, _LAYOUT, _COST = "outputs.npy", "layout.json", "cost.json"


@dataclass(frozen=True)
class _Rows:
    outputs: Tensor
    channels_last: bool


def _write_rows(folder: Path, computed: Iterator[Tensor], count: int) -> None:
    """Writes the tensors' rows as bytes (numpy has no bfloat16), images in channels_last as (H, W, C)."""
    first = next(computed)
    channels_last = first.ndim == 4 and first.is_contiguous(memory_format=torch.channels_last)

    def as_bytes(outputs: Tensor) -> NDArray[np.uint8]:
        rows = outputs.permute(0, 2, 3, 1) if channels_last else outputs
        array: NDArray[np.uint8] = rows.contiguous().cpu().view(torch.uint8).numpy()
        return array

    shape = (count, *as_bytes(first).shape[1:])
    write_array(folder / _OUTPUTS, shape, np.dtype(np.uint8), map(as_bytes, chain([first], computed)))
    layout = {"dtype": str(first.dtype).removeprefix("torch."), "channels_last": channels_last}
    (folder / _LAYOUT).write_text(json.dumps(layout))


def _read(folder: Path) -> _Rows:
    layout = json.loads((folder / _LAYOUT).read_text())
    outputs = as_tensor(map_array(folder / _OUTPUTS)).view(getattr(torch, layout["dtype"]))
    return _Rows(outputs, layout["channels_last"])


def _read_cost(folder: Path) -> Cost:
    return Cost(**json.loads((folder / _COST).read_text()))


def _digest(model: Classifier) -> str:
    """SHA-256 over what the prefix computes with: the frozen stages' tensors, and the normalisation."""
    frozen = model.backbone.stages[: model.backbone.frozen_depth]
    tensors = {**dict(frozen.named_parameters()), **dict(frozen.named_buffers())}
    tensors |= {"scale": model.scale, "shift": model.shift}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
