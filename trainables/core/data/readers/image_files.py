"""Selection of the image files in a folder, and the count of all others."""

import os
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path, PurePosixPath

from trainables.core.data.decode.dicom import is_dicom
from trainables.core.data.fact import Fact
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import DataError
from trainables.core.plural import plural

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
_NIFTI_SUFFIXES = (".nii", ".nii.gz")
# Folders of thumbnails, deleted files and resource forks that systems, storage boxes and archives add, and the index of
# a DICOM folder.
_IGNORED = frozenset(
    [
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "dicomdir",
        "lost+found",
        "recycler",
        "system volume information",
    ]
)
MASK_LISTING = ".tune-predict.json"  # in a folder of masks that tune-predict wrote, with their names
_LINKED, _WITHOUT, _PREDICTED = "links to folders", "without suffix", "masks that tune-predict wrote"
_SHOWN = 5  # suffixes


def find_images(root: Path) -> list[Path]:
    """Return the image files below a folder, sorted by path. A broken link is one."""
    files = sorted(files_below(root))
    return [file for file in files if is_image(file.relative_to(root)) or _is_unnamed_dicom(root, file)]


def find_parquet(root: Path) -> list[Path]:
    """Return the parquet files below a folder, sorted by path."""
    return sorted(file for file in files_below(root) if file.suffix.lower() == ".parquet" and file.is_file())


def files_below(root: Path) -> Iterator[Path]:
    """Yield all files below a folder, except what ``is_left_out`` and what is behind links to folders.

    Raises:
        DataError: A folder cannot be read, so that its images would be missing.
    """
    return (path for path, is_folder in _walk(root, is_left_out) if not is_folder)


def _walk(root: Path, leave_out: Callable[[Path], bool]) -> Iterator[tuple[Path, bool]]:
    """Yield each file and folder below a folder, and True if it is a folder, also a linked one."""

    def refuse(error: OSError) -> None:
        place = printable(str(error.filename))
        raise DataError(f"every folder must be readable, but {place} is not: {error.strerror}") from error

    for place, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not leave_out(Path(place, name))]
        for names, is_folder in ((folders, True), (files, False)):
            yield from ((Path(place, name), is_folder) for name in names if not is_ignored(Path(name)))


def is_image(file: Path) -> bool:
    """Return True if a path within a data set is an image: it has an image suffix and is not ignored."""
    known = file.suffix.lower() in _IMAGE_SUFFIXES | _DICOM_SUFFIXES or is_nifti_file(file)
    return known and not is_ignored(file)


def is_nifti_file(file: Path) -> bool:
    """Return True for a file with a suffix of NIfTI volumes."""
    return file.name.lower().endswith(_NIFTI_SUFFIXES)


def without_suffix(name: str) -> str:
    """Return a file's name without its suffix, which may be ``.nii.gz``."""
    path = PurePosixPath(name)
    return str(path.with_suffix("").with_suffix("") if name.lower().endswith(".nii.gz") else path.with_suffix(""))


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


def is_left_out(folder: Path) -> bool:
    """Return True for a folder within a data set that is ignored, or holds masks that ``tune-predict`` wrote."""
    return is_ignored(Path(folder.name)) or _holds_predictions(folder)


def _holds_predictions(folder: Path) -> bool:
    return os.access(folder / MASK_LISTING, os.F_OK)  # False, too, if the folder may not be entered


def unread_files(root: Path, read: Container[Path] | None = None) -> Counter[str]:
    """Count the files below a folder that are not read, by suffix, links to folders, and masks of ``tune-predict``.

    Ignored files do not count.

    Args:
        root: Folder.
        read: Files that are read; None for all images and parquet files.
    """
    read = {*find_images(root), *find_parquet(root)} if read is None else read
    suffixes = Counter[str]()
    for file, is_folder in _walk(root, lambda folder: is_ignored(Path(folder.name))):
        if is_folder and file.is_symlink():
            suffixes[_LINKED] += 1
        elif not is_folder and file.is_file() and file not in read:
            suffixes[_PREDICTED if _holds_predictions(file.parent) else file.suffix.lower() or _WITHOUT] += 1
    return suffixes


def describe_unread(counts: Mapping[str, int]) -> str:
    """Return a note like ``15 files were not read: 12 .txt, 3 without suffix``."""
    total = sum(counts.values())
    return Fact(f"{plural(total, 'file')} {'was' if total == 1 else 'were'} not read: {', '.join(_parts(counts))}")


def describe_files(root: Path) -> str:
    """Return the number of files below a folder, like ``15 files: 12 .png, 3 without suffix``. None is opened.

    Raises:
        DataError: A folder cannot be read.
    """
    suffixes = Counter(file.suffix.lower() for file in files_below(root))
    named = Counter[str]()
    for suffix, count in suffixes.items():
        named[_WITHOUT if not suffix or suffix[1:].isdigit() else suffix] += count  # UIDs end in a number
    parts = _parts(named)
    shown = [*parts[:_SHOWN], *([f"{len(parts) - _SHOWN} other suffixes"] if len(parts) > _SHOWN else [])]
    return f"{plural(sum(named.values()), 'file')}{': ' * bool(shown)}{', '.join(shown)}"


def _parts(counts: Mapping[str, int]) -> list[str]:
    return [
        f"{count} {printable(suffix)}" for suffix, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
