"""GPU memory classes of a node, as Ray resources.

``ray start --resources="$(python -m tuning.ray_backend.gpu_classes)"`` declares them. A class like ``gpu_24g`` counts
the node's GPUs with at least that much memory (GB). A trial that requests a class requests the same fraction of it as
of ``GPU``.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable

from trainables.core.errors import UserError

# Advertised sizes. A GPU reports up to a twelfth less: an L4 with 24 GB has 22.5 GiB.
CLASSES_GB = (16, 24, 32, 40, 48, 80, 96, 140, 180)
_USABLE = 11 / 12
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
    """Print this node's classes as JSON; none if ``nvidia-smi`` is not installed."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    memories = subprocess.check_output(query, text=True).split() if shutil.which(query[0]) else []
    print(json.dumps(gpu_classes_of(map(float, memories))))


if __name__ == "__main__":
    main()
