"""GPU memory classes of a node, as Ray resources.

``ray start --resources="$(python -m tuning.ray_backend.gpu_classes)"`` declares them. A class like ``gpu_24g`` counts
the node's GPUs with at least that much memory (GB). A trial that requests a class requests the same fraction of it as
of ``GPU``.
"""

import json
import sys
from collections.abc import Iterable

from trainables.core.errors import UserError, first_line

# Advertised sizes. CUDA reports up to a ninth less: a T4 with 16 GB has 14.6 GiB.
CLASSES_GB = (16, 24, 32, 40, 48, 80, 96, 140, 180)
_USABLE = 8 / 9
PREFIX = "gpu_"  # of the resource names


def gpu_class_for(gigabytes: float) -> str:
    """Return the smallest class with at least this much memory.

    Raises:
        UserError: No class has that much.
    """
    large_enough = [gb for gb in CLASSES_GB if gb >= gigabytes]
    if not large_enough:
        raise UserError(f"--gpu-memory must be at most {CLASSES_GB[-1]} GB, but got {gigabytes:g}")
    return f"{PREFIX}{large_enough[0]}g"


def gpu_classes_of(memories_mib: Iterable[float]) -> dict[str, int]:
    """Return the number of GPUs per class, given the memory of each of a node's GPUs in MiB."""
    memories = list(memories_mib)
    counts = {gb: sum(memory >= gb * 1024 * _USABLE for memory in memories) for gb in CLASSES_GB}
    return {gpu_class_for(gb): count for gb, count in counts.items() if count}


def main() -> None:
    """Print this node's classes as JSON, which ``ray start`` requires even if there are none."""
    print(json.dumps(gpu_classes_of(_memories())))


def _memories() -> list[float]:
    """Return the memory in MiB of each GPU, or part of one (MIG), that ``CUDA_VISIBLE_DEVICES`` leaves to this process.

    A GPU that shares the CPU's memory counts in no class.
    """
    import torch  # takes seconds, and the driver needs only the names of the classes

    try:
        gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    except RuntimeError as error:
        print(f"CUDA failed, so this node announces no GPU classes: {first_line(error)}", file=sys.stderr)
        return []
    return [gpu.total_memory / 2**20 for gpu in gpus if not gpu.is_integrated]


if __name__ == "__main__":
    main()
