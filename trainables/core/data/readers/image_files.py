"""Selection of the image files in a folder."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

_IMAGE_SUFFIXES = frozenset(
    [
        ".apng",
        ".bmp",
        ".gif",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jpx",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
# Folders of thumbnails and resource forks that storage boxes and archives add.
_IGNORED_FOLDERS = frozenset({"@eadir", "__macosx"})


def is_image(file: Path) -> bool:
    """Return True if a path within a data set is an image: it has an image suffix and is not ignored."""
    return file.suffix.lower() in _IMAGE_SUFFIXES and not is_ignored(file)


def is_ignored(path: Path) -> bool:
    """Return True for hidden files, and for files in hidden folders or in folders that storage boxes add."""
    return any(part.startswith(".") or part.lower() in _IGNORED_FOLDERS for part in path.parts)


def is_image_or_parquet(file: Path) -> bool:
    """Return True if a path is one that prediction reads from a folder."""
    return is_image(file) or (file.suffix.lower() == ".parquet" and not is_ignored(file))


def unread_files(root: Path, is_read: Callable[[Path], bool] = is_image_or_parquet) -> Counter[str]:
    """Count the files below a folder that are not read, by suffix. Ignored files do not count.

    Args:
        root: Folder.
        is_read: Returns True for the paths, relative to the folder, that are read.
    """
    suffixes = Counter[str]()
    for file in root.rglob("*"):
        name = file.relative_to(root)
        if file.is_file() and not (is_read(name) or is_ignored(name)):
            suffixes[name.suffix.lower() or "without suffix"] += 1
    return suffixes


def describe_unread(counts: Mapping[str, int]) -> str:
    """Return a note like ``15 files were not read: 12 .txt, 3 without suffix``."""
    parts = [f"{count} {suffix}" for suffix, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return f"{sum(counts.values())} files were not read: {', '.join(parts)}"
