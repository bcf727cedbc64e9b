"""Images for tests, as files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def write_classes(root: Path, counts: dict[str, int], size: int = 32, seed: int = 0) -> Path:
    """Writes class folders of grey images whose brightness follows the class, so that they can be learnt."""
    generator = np.random.default_rng(seed)
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 60, (size, size)) + 60 * label
            (root / name / f"{index:03d}.png").write_bytes(png(pixels.astype(np.uint8)))
    return root
