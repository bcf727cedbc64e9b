"""The rows of a tensor on disk, as bytes that can be mapped."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.data.batches import as_tensor
from trainables.core.node_cache import map_array, write_array

OUTPUTS, _LAYOUT = "outputs.npy", "layout.json"


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows mapped from disk.

    Attributes:
        outputs: (N, ...) tensor.
        channels_last: True if the rows are images stored as (H, W, C).
    """

    outputs: Tensor
    channels_last: bool


def write_rows(folder: Path, parts: Iterator[Tensor], count: int) -> None:
    """Write the rows of tensors as bytes, since numpy has no bfloat16; channels_last rows become (H, W, C).

    Args:
        folder: Existing folder.
        parts: Tensors of at least one row each, equal in all but their number of rows.
        count: Number of rows of all tensors together.
    """
    first = next(parts)
    channels_last = first.ndim == 4 and first.is_contiguous(memory_format=torch.channels_last)

    def as_bytes(outputs: Tensor) -> NDArray[np.uint8]:
        rows = outputs.permute(0, 2, 3, 1) if channels_last else outputs
        array: NDArray[np.uint8] = rows.contiguous().cpu().view(torch.uint8).numpy()  # a host-device sync per part
        return array

    shape = (count, *as_bytes(first).shape[1:])
    write_array(folder / OUTPUTS, shape, np.dtype(np.uint8), map(as_bytes, chain([first], parts)))
    layout = {"dtype": str(first.dtype).removeprefix("torch."), "channels_last": channels_last}
    (folder / _LAYOUT).write_text(json.dumps(layout))


def read_rows(folder: Path) -> Rows:
    """Map what ``write_rows`` wrote.

    Raises:
        FileNotFoundError, ValueError: A file is missing or truncated.
    """
    layout = json.loads((folder / _LAYOUT).read_text())
    outputs = as_tensor(map_array(folder / OUTPUTS)).view(getattr(torch, layout["dtype"]))
    return Rows(outputs, layout["channels_last"])
