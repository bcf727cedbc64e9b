"""What classes a node's GPUs are of, by their memory: ``ray start --resources="$(python -m tuning.cards)"``.

A class is a resource of the node, ``gpu_24g``: the number of its GPUs with at least so much memory. A trial that asks
for the class asks for the same fraction of it as of a GPU.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable

# As cards are sold. What a card tells is up to a twelfth less: an L4 of 24 GB has 22.5 GiB.
CLASSES_GB = (16, 24, 40, 80, 140)
_USABLE = 11 / 12


def card_class(gigabytes: int) -> str:
    """The resource's name."""
    return f"gpu_{gigabytes}g"


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
