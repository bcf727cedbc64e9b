"""Selection of the image files in a folder, and the count of all others."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from trainables.core.data.decode.dicom import is_dicom

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
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
# Folders of thumbnails and resource forks that storage boxes and archives add, and the index of a DICOM folder.
_IGNORED = frozenset({"@eadir", "__macosx", "dicomdir"})


_LINKED = "links to folders"


def find_images(root: Path) -> list[Path]:
    """Return the image files below a folder, sorted by path."""
    return [
        file for file in sorted(root.rglob("*")) if is_image(file.relative_to(root)) or _is_unnamed_dicom(root, file)
    ]


def is_image(file: Path) -> bool:
    """Return True if a path within a data set is an image: it has an image suffix and is not ignored."""
    return file.suffix.lower() in _IMAGE_SUFFIXES | _DICOM_SUFFIXES and not is_ignored(file)


def is_dicom_file(file: Path) -> bool:
    """Return True for a file with a DICOM suffix, or with DICOM content and no suffix of other images."""
    if file.suffix.lower() in _DICOM_SUFFIXES | _IMAGE_SUFFIXES:
        return file.suffix.lower() in _DICOM_SUFFIXES
    try:
        if not file.is_file():  # a pipe may never end
            return False
        with file.open("rb") as opened:
            return is_dicom(opened.read(132))
    except OSError:
        return False


def _is_unnamed_dicom(root: Path, file: Path) -> bool:
    """Return True for a DICOM file named without suffix, or by a UID that ends in a number."""
    name = file.relative_to(root)
    return (not name.suffix or name.suffix[1:].isdigit()) and not is_ignored(name) and is_dicom_file(file)


def is_ignored(path: Path) -> bool:
    """Return True for hidden files, files in hidden folders or in folders that storage boxes add, and ``DICOMDIR``."""
    return any(part.startswith(".") or part.lower() in _IGNORED for part in path.parts)


def is_image_or_parquet(file: Path) -> bool:
    """Return True if a path is one that prediction reads from a folder."""
    return is_image(file) or (file.suffix.lower() == ".parquet" and not is_ignored(file))


def unread_files(root: Path, is_read: Callable[[Path], bool] = is_image_or_parquet) -> Counter[str]:
    """Count the files below a folder that are not read, by suffix, and links to folders. Ignored files do not count.

    Args:
        root: Folder.
        is_read: Returns True for the paths, relative to the folder, that are read.
    """
    suffixes = Counter[str]()
    for file in root.rglob("*"):
        name = file.relative_to(root)
        if file.is_symlink() and file.is_dir():
            suffixes.update([_LINKED] * (not is_ignored(name)))
        elif file.is_file() and not (is_read(name) or is_ignored(name) or _is_unnamed_dicom(root, file)):
            suffixes[name.suffix.lower() or "without suffix"] += 1
    return suffixes


def describe_unread(counts: Mapping[str, int]) -> str:
    """Return a note like ``15 files were not read: 12 .txt, 3 without suffix``."""
    parts = [f"{count} {suffix}" for suffix, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return f"{sum(counts.values())} files were not read: {', '.join(parts)}"
