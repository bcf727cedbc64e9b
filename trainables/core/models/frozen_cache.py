"""The cache of a backbone's frozen stages: their output, a pure function of the image, is computed once per node.

Outputs are stored in the node's cache under a key of everything they depend on, so that all trials and processes share
them. They are stored only if computing an output costs far more than reading it. Rounding depends on the size of a
batch, so a stored output may differ in its last digits from one that a training batch computes.
"""

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import HeadConfig
from trainables.core.data.batches import Table, batches, fits
from trainables.core.data.dataset import Dataset
from trainables.core.device import autocast, halve_until_it_fits, resolve_precision
from trainables.core.errors import describe
from trainables.core.models.backbones.lora import merged_lora
from trainables.core.models.backbones.parameter_groups import ParameterGroup
from trainables.core.models.networks.classifier import Classifier
from trainables.core.models.stored_rows import OUTPUTS, read_rows, write_rows
from trainables.core.node_cache import StoreFullError

# Part of every key: increase it when a change cuts or normalises the same backbone differently.
CACHE_VERSION = 1
BATCH = 64  # images; fewer if the GPU's memory is too small for them
CPU_SAMPLE = 16  # images that are timed on a CPU; a GPU needs a whole batch to be busy
# Computing must cost this many times more than reading and writing, because timings on shared machines are rough.
MARGIN = 3.0
# Largest share of the machine's memory to cache: beyond it, the page cache fails and reads go to the disk.
MEMORY_SHARE = 0.5

_COST = "cost.json"

logger = logging.getLogger("trainables")
Variant = Callable[[Tensor], Tensor]


# The names of these functions are part of the keys on disk.
def _as_it_is(images: Tensor) -> Tensor:
    return images


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(2)


# Augmentation policies with few possible results: each result, as a function of (B, S, S, channels) images.
CACHEABLE_VARIANTS: dict[str, tuple[Variant, ...]] = {"none": (_as_it_is,), "flip": (_as_it_is, _mirrored)}


@dataclass(frozen=True)
class Cost:
    """Costs of one image's output.

    Attributes:
        size: Bytes; 0 for outputs that are never stored (the image itself, or not one tensor with a row per image).
        compute: Seconds to compute it.
        write: Seconds to write it.
        read: Seconds to read it.
    """

    size: int
    compute: float
    write: float
    read: float

    def pays(self, variants: int, epochs: int) -> bool:
        """Return True if storing every variant of an image saves time over ``epochs``, by a wide margin.

        Without the cache each epoch computes one output, so computing the first variant costs nothing extra.
        """
        saved = self.compute * (epochs - variants + 1)
        return self.size > 0 and saved > MARGIN * (self.write * variants + self.read * epochs)


class FrozenCache:
    """Cached outputs of a classifier's frozen stages, for one data set, device and precision.

    Args:
        model: Classifier whose frozen stages have their final weights.
        config: Its configuration.
        data: Data set whose images the stages are run on.
        device: Device of the model.
        epochs: Number of epochs that read the outputs; None for all.
    """

    def __init__(
        self, model: Classifier, config: HeadConfig, data: Dataset, device: torch.device, epochs: int | None = None
    ):
        self._model, self._config, self._data, self._device = model, config, data, device
        self._epochs = config.epochs if epochs is None else epochs
        self._precision = resolve_precision(config.precision, device)

    def table(self, indices: NDArray[np.int64], variants: Sequence[Variant] = (_as_it_is,)) -> Table | None:
        """Return the outputs for images, and compute them first if no process on this node has.

        Args:
            indices: (n,) indices of images of the data set.
            variants: V functions of a batch of images.

        Returns:
            V x n rows on the CPU, mapped from the node's cache: for each variant, ``indices`` in order. None if storing
            does not pay or does not fit.
        """
        subset = hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8").tobytes()).hexdigest()[:16]
        key = f"prefix-{self._key}-{subset}-{'-'.join(variant.__name__ for variant in variants)}"
        store = self._data.open_store()
        targets = torch.from_numpy(np.concatenate([self._data.labels[indices]] * len(variants)))
        rows = store.find(key, read_rows)
        try:
            if rows is None:
                images = self._data.images(self._config.image_size)  # mapped, so never evicted to make room
                measure = partial(self._measure, images, indices)
                cost = store.read(f"prefix-{self._key}-cost", measure, _read_cost, size=1000)
                if not self._worth_storing(cost, len(indices), len(variants), store.limit):
                    return None
                size = cost.size * len(targets)
                rows = store.read(key, partial(self._write, images, indices, variants), read_rows, size)
        except (StoreFullError, OSError) as error:
            logger.warning("%s: recomputed every epoch: %s", self._name, describe(error))
            return None
        return Table(rows.outputs, targets, rows.channels_last)

    @cached_property
    def _key(self) -> str:
        import timm
        import torchvision

        depends_on = {
            "version": CACHE_VERSION,
            "images": self._data.images_key(self._config.image_size),
            "backbone": self._config.backbone,
            "depth": self._model.backbone.frozen_depth,
            "tensors": _digest(self._model),
            "precision": self._precision,
            "device": self._device.type,
            "libraries": [torch.__version__, timm.__version__, torchvision.__version__],
        }
        return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:32]

    @property
    def _name(self) -> str:
        backbone = self._model.backbone
        return f"frozen stages of {self._config.backbone} ({backbone.frozen_depth} of {backbone.depth})"

    def _worth_storing(self, cost: Cost, images: int, variants: int, limit: int) -> bool:
        """Decide whether to store outputs, and log the reason."""
        size = cost.size * images * variants
        memory = MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if fits(size, self._device):  # read once, then kept on the device
            cost = dataclasses.replace(cost, read=0.0)
        worth = cost.pays(variants, self._epochs) and size <= min(limit, memory)
        logger.info(
            "%s, %d images: %s: %.3f ms to compute an output, %.3f ms to read it; %.1f MB of at most %.1f MB",
            self._name,
            images,
            "stored" if worth else "recomputed every epoch",
            cost.compute * 1e3,
            cost.read * 1e3,
            size / 1e6,
            min(limit, memory) / 1e6,
        )
        return worth

    @torch.no_grad()
    def _run(self, pixels: Tensor) -> Any:
        with autocast(self._precision, self._device):
            return self._model.run_frozen(pixels.to(self._device))

    def _write(
        self, images: NDArray[np.uint8], indices: NDArray[np.int64], variants: Sequence[Variant], folder: Path
    ) -> None:
        def write(size: int) -> None:
            computed = (
                self._run(variant(torch.from_numpy(images[indices[start : start + size]])))
                for variant in variants
                for start in range(0, len(indices), size)
            )
            write_rows(folder, computed, len(indices) * len(variants))

        halve_until_it_fits(write, BATCH)

    def _measure(self, images: NDArray[np.uint8], indices: NDArray[np.int64], folder: Path) -> None:
        """Time a batch and write the ``Cost`` into the folder."""
        most = CPU_SAMPLE if self._device.type == "cpu" else BATCH
        cost = halve_until_it_fits(lambda size: self._cost(images[indices[:size]], folder), min(len(indices), most))
        (folder / _COST).write_text(json.dumps(dataclasses.asdict(cost)))

    def _cost(self, images: NDArray[np.uint8], folder: Path) -> Cost:
        """Time a batch of images, whose outputs are written into the folder for a while."""
        count, pixels = len(images), torch.from_numpy(images)
        outputs, cost = self._run(pixels), Cost(0, 0.0, 0.0, 0.0)
        frozen = self._model.backbone.stages[: self._model.backbone.frozen_depth]
        computes = any(type(stage) is not ParameterGroup for stage in frozen)
        if computes and isinstance(outputs, Tensor) and len(outputs) == count:
            compute = self._seconds(lambda: self._run(pixels)) / count
            write = self._seconds(lambda: write_rows(folder, iter([outputs]), count)) / count
            rows, order = read_rows(folder), np.random.default_rng(0).permutation(count)
            table = Table(rows.outputs, torch.zeros(count, dtype=torch.int64), rows.channels_last)
            read = self._seconds(lambda: next(batches(table, order, count))[0].to(self._device)) / count
            cost = Cost(outputs.nbytes // count, compute, write, read)
            (folder / OUTPUTS).unlink()
        return cost

    def _seconds(self, run: Callable[[], Any]) -> float:
        """Return the shortest of three timings, since other load only makes them longer."""
        timings = []
        for _ in range(3):
            started = time.perf_counter()
            run()
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)  # a host-device sync: kernels run asynchronously
            timings.append(time.perf_counter() - started)
        return min(timings)


def _read_cost(folder: Path) -> Cost:
    return Cost(**json.loads((folder / _COST).read_text()))


def _digest(model: Classifier) -> str:
    """Return the SHA-256 of the frozen stages' tensors and of the normalisation.

    LoRA updates of frozen stages are zero, as the product of random numbers and zeros: merged, they change nothing.
    """
    frozen = model.backbone.stages[: model.backbone.frozen_depth]
    tensors = merged_lora({**dict(frozen.named_parameters()), **dict(frozen.named_buffers())})
    tensors |= {"scale": model.scale, "shift": model.shift}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
