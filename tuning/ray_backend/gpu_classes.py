"""GPU memory classes of a node, as Ray resources.

``ray start --resources="$(python -m tuning.ray_backend.gpu_classes)"`` declares them. A class like ``gpu_24g`` counts
the node's GPUs with at least that much memory (GB). A trial that asks for a class asks for the same fraction of it as
of ``GPU``.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable

from trainables.core.errors import UserError

# As cards are sold. What a card tells is up to a twelfth less: an L4 of 24 GB has 22.5 GiB.
CLASSES_GB = (16, 24, 32, 40, 48, 80, 96, 140, 180)
_USABLE = 11 / 12
CARD = "gpu_"  # what the resources' names begin with


def card_class(gigabytes: float) -> str:
    """The class of the smallest cards that have so much.

    Raises:
        UserError: There are no such cards.
    """
    large_enough = [gb for gb in CLASSES_GB if gb >= gigabytes]
    if not large_enough:
        raise UserError(f"--gpu-memory must be at most {CLASSES_GB[-1]} GB, but got {gigabytes:g}")
    return f"{CARD}{large_enough[0]}g"


def card_classes(memories_mib: Iterable[float]) -> dict[str, int]:
    """From the memory of each of a node's GPUs, MiB, to how many there are of each class."""
    memories = list(memories_mib)
    counts = {gb: sum(memory >= gb * 1024 * _USABLE for memory in memories) for gb in CLASSES_GB}
    return {card_class(gb): count for gb, count in counts.items() if count}


def main() -> None:
    """Prints this node's classes as JSON; none where there is no ``nvidia-smi``."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    memories = subprocess.check_output(query, text=True).split() if shutil.which(query[0]) else []
    print(json.dumps(card_classes(map(float, memories))))


if __name__ == "__main__":
    main()
