"""GPU memory classes of a node, as Ray resources.

``ray start --resources="$(python -m tuning.ray_backend.gpu_classes)"`` declares them. A class like ``gpu_24g`` counts
the node's GPUs with at least that much memory (GB). A trial that requests a class requests the same fraction of it as
of ``GPU``.
"""

import json
import shutil
import subprocess
import sys
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
    """Print this node's classes as JSON, which ``ray start`` requires even if there are none."""
    print(json.dumps(gpu_classes_of(_memories())))


def _memories() -> list[float]:
    """Return the memory of each GPU in MiB, as far as ``nvidia-smi`` is installed, works and knows it.

    A GPU that shares the CPU's memory has ``[N/A]`` instead, and counts in no class.
    """
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    if not shutil.which(query[0]):
        return []
    answer = subprocess.run(query, text=True, stdout=subprocess.PIPE, check=False)
    if answer.returncode:
        print("nvidia-smi failed, so this node announces no GPU classes", file=sys.stderr)
        return []
    return [float(line) for line in map(str.strip, answer.stdout.splitlines()) if line.isdecimal()]


if __name__ == "__main__":
    main()
