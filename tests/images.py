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
    """Write class folders of grey images whose brightness depends on the class, so that a model can learn it."""
    generator = np.random.default_rng(seed)
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 60, (size, size)) + 60 * label
            (root / name / f"{index:03d}.png").write_bytes(png(pixels.astype(np.uint8)))
    return root


def write_labelled(root: Path, count: int, size: int = 32, seed: int = 0) -> Path:
    """Write grey images and ``labels.csv``: ``left`` and ``right`` if that half is bright, ``dots`` if there are any.

    The labels are independent of each other, and two images belong to each patient.
    """
    generator = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    lines = ["image,patient_id,labels"]
    for index in range(count):
        left, right, dots = generator.random(3) < (0.5, 0.4, 0.2)
        pixels = generator.integers(0, 60, (size, size))
        pixels[:, : size // 2] += 90 * left
        pixels[:, size // 2 :] += 90 * right
        pixels[::4, ::4] += 100 * dots
        (root / f"{index:03d}.png").write_bytes(png(pixels.astype(np.uint8)))
        labels = "|".join(name for name, given in (("left", left), ("right", right), ("dots", dots)) if given)
        lines.append(f"{index:03d},p{index // 2},{labels or 'No Finding'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def write_pairs(root: Path, count: int, size: int = 32, seed: int = 0) -> Path:
    """Write ``images/``, each a bright disc in noise, and ``masks/`` of 0 and 255 that mark the disc."""
    for index, (image, mask) in enumerate(_discs(count, size, seed)):
        for folder, pixels in (("images", image), ("masks", 255 * mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{index:03d}.png").write_bytes(png(pixels))
    return root


def write_pets(root: Path, count: int, size: int = 32, seed: int = 0) -> Path:
    """Write the layout that torchvision's OxfordIIITPet downloads: the last quarter is the published test split."""
    pets = root / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (pets / folder).mkdir(parents=True)
    names = [f"Breed_{index}" for index in range(count)]
    for name, (image, mask) in zip(names, _discs(count, size, seed), strict=True):
        Image.fromarray(image).convert("RGB").save(pets / "images" / f"{name}.jpg", quality=95)
        trimap = np.where(mask == 1, 1, 2).astype(np.uint8)
        inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        trimap[1:-1, 1:-1][(mask[1:-1, 1:-1] == 1) & (inner == 0)] = 3
        (pets / "annotations" / "trimaps" / f"{name}.png").write_bytes(png(trimap))
    for file, listed in (("trainval.txt", names[: -(count // 4)]), ("test.txt", names[-(count // 4) :])):
        lines = ["#Image CLASS-ID SPECIES BREED ID", *(f"{name} 1 1 1" for name in listed)]
        (pets / "annotations" / file).write_text("\n".join(lines) + "\n")
    return root


def _discs(count: int, size: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    pairs = []
    for _ in range(count):
        row, column = generator.uniform(0.35 * size, 0.65 * size, 2)
        mask = (rows - row) ** 2 + (columns - column) ** 2 < generator.uniform(0.15 * size, 0.3 * size) ** 2
        image = generator.integers(0, 80, (size, size)) + 150 * mask
        pairs.append((image.astype(np.uint8), mask.astype(np.uint8)))
    return pairs
