"""The folder of predicted masks beside a predictions table."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from trainables.core.atomic_write import atomic_file, partial_path
from trainables.core.data.readers.image_files import MASK_LISTING
from trainables.core.errors import UserError
from trainables.core.serving.ensembles.segmentation_ensemble import as_png
from trainables.core.serving.score_images import ScoredImage

_LONGEST_STEM = 200  # bytes; file systems allow 255 for the whole name


class MaskFiles:
    """Writer of masks: one PNG per image, numbered in the images' order.

    Pixel values are classes: 0 is the background, 1 + c is class c. A name ends in a digest of the content, so that no
    mask replaces a different one of an earlier table.
    """

    def __init__(self, partial: Path, folder: Path, class_names: Sequence[str]):
        """Create a writer.

        Args:
            partial: Folder to write to.
            folder: Folder that the masks will be moved to.
            class_names: Names of the C classes.
        """
        self._partial, self._folder, self._classes = partial, folder, len(class_names)
        self._names: list[str] = []
        self._earlier: set[str] | None = None  # names of an earlier table; None until the masks are published

    def write(self, row: ScoredImage) -> tuple[str, list[float]]:
        """Write an image's mask and return its path and the share of pixels of each class.

        Raises:
            OSError: The disk is full or not writable.
        """
        assert row.mask is not None
        png = as_png(row.mask)
        stem = os.fsencode(Path(row.name).stem)[:_LONGEST_STEM].decode(errors="ignore")
        name = f"{len(self._names):06d}-{stem}-{sha256(png).hexdigest()[:8]}.png"
        (self._partial / name).write_bytes(png)
        self._names.append(name)
        shares = np.bincount(row.mask.ravel(), minlength=1 + self._classes)[1:] / row.mask.size
        return str(self._folder / name), shares.tolist()

    def publish(self) -> None:
        """Move the masks to their folder, beside the masks of an earlier table.

        Raises:
            UserError: The folder holds other files.
            OSError: The folder cannot be written.
        """
        _check_replaceable(self._folder)
        self._earlier = _listed(self._folder)
        self._folder.mkdir(exist_ok=True)
        self._list({*self._earlier, *self._names})  # first, so that the next run recognises them after a crash
        for name in self._names:
            (self._partial / name).replace(self._folder / name)

    def remove_earlier(self) -> None:
        """Remove the masks of an earlier table, which has been replaced."""
        self._leave_only(set(self._names))

    def withdraw(self) -> None:
        """Remove what was published, because the earlier table remains."""
        if self._earlier is not None:
            self._leave_only(self._earlier)

    def _leave_only(self, names: set[str]) -> None:
        with suppress(OSError):  # the listing still names what could not be removed, and the next run tries again
            for name in {*(self._earlier or ()), *self._names} - names:
                (self._folder / name).unlink(missing_ok=True)
            if names:
                self._list(names)
            else:
                (self._folder / MASK_LISTING).unlink(missing_ok=True)
                self._folder.rmdir()

    def _list(self, names: set[str]) -> None:
        with atomic_file(self._folder / MASK_LISTING) as partial:
            partial.write_text(json.dumps(sorted(names)))


@contextmanager
def mask_files(table: Path, class_names: Sequence[str]) -> Iterator[MaskFiles]:
    """Yield a writer of masks for a table that the block replaces, after it has published the masks.

    The folder is named like the table, without its suffix. Masks of an earlier table are removed at the end; if the
    block raises, the new ones are. So at any moment, the table at hand has its own masks.

    Raises:
        UserError: The folder exists and holds other files, or cannot have a name of its own.
        OSError: The folder cannot be written.
    """
    folder = table.with_suffix("")
    if folder == table:
        raise UserError(f"masks need a folder whose name differs from {table}: give --out a suffix, like .csv")
    _check_replaceable(folder)
    partial = partial_path(folder)
    partial.mkdir(parents=True)
    masks = MaskFiles(partial, folder, class_names)
    try:
        yield masks
    except BaseException:
        masks.withdraw()
        raise
    else:
        masks.remove_earlier()
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not _holds_only_masks(folder):
        raise UserError(
            f"only a folder of earlier masks can be replaced, but {folder} holds other files: "
            "move it away, or give another --out"
        )


def _holds_only_masks(folder: Path) -> bool:
    """Return True if a folder is empty or holds nothing but the masks that its listing names."""
    try:
        names = {file.name for file in folder.iterdir()}
        return not folder.is_symlink() and (not names or names <= {MASK_LISTING, *_listed(folder)})
    except (OSError, ValueError, TypeError):  # a file, or a folder without a readable listing
        return False


def _listed(folder: Path) -> set[str]:
    """Return the names of the masks in a folder; none if it does not exist or has no listing.

    Raises:
        ValueError, TypeError: The listing is not readable.
    """
    try:
        return set(json.loads((folder / MASK_LISTING).read_text()))
    except FileNotFoundError:
        return set()
