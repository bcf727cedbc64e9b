"""The folder of predicted masks beside a predictions table."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trainables.core.atomic_write import atomic_folder
from trainables.core.errors import UserError
from trainables.core.serving.score_images import ScoredImage
from trainables.core.serving.segmentation_ensemble import as_png

_LISTING = ".tune-predict.json"  # names of the masks in the folder


class MaskFiles:
    """Writer of masks: one PNG per image, numbered in the images' order.

    Pixel values are classes: 0 is the background, 1 + c is class c.
    """

    def __init__(self, partial: Path, folder: Path, class_names: Sequence[str]):
        """Create a writer.

        Args:
            partial: Folder to write to.
            folder: Folder that ``partial`` will be renamed to.
            class_names: Names of the C classes.
        """
        self._partial, self._folder, self._classes = partial, folder, len(class_names)
        self.names: list[str] = []

    def write(self, row: ScoredImage) -> tuple[str, list[float]]:
        """Write an image's mask and return its path and the share of pixels of each class.

        Raises:
            OSError: The disk is full or not writable.
        """
        assert row.mask is not None
        name = f"{len(self.names):06d}-{Path(row.name).stem}.png"
        (self._partial / name).write_bytes(as_png(row.mask))
        self.names.append(name)
        shares = np.bincount(row.mask.ravel(), minlength=1 + self._classes)[1:] / row.mask.size
        return str(self._folder / name), shares.tolist()


@contextmanager
def mask_files(table: Path, class_names: Sequence[str]) -> Iterator[MaskFiles]:
    """Yield a writer of masks whose folder appears at the end, and not at all if the block raises.

    The folder is named like the table, without its suffix. A folder of an earlier run is replaced, unless something
    else was put into it.

    Raises:
        UserError: The folder exists and holds other files, or cannot have a name of its own.
        OSError: The folder cannot be written.
    """
    folder = table.with_suffix("")
    if folder == table:
        raise UserError(f"masks need a folder whose name differs from {table}: give --out a suffix, like .csv")
    _check_replaceable(folder)
    previous = None
    with atomic_folder(folder) as partial:
        masks = MaskFiles(partial, folder, class_names)
        yield masks
        (partial / _LISTING).write_text(json.dumps(masks.names))
        _check_replaceable(folder)
        if folder.exists():
            previous = folder.rename(partial.with_suffix(".before"))
    if previous is not None:
        shutil.rmtree(previous, ignore_errors=True)


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
        listed = json.loads((folder / _LISTING).read_text()) if names else []
        return not folder.is_symlink() and names <= {_LISTING, *listed}
    except (OSError, ValueError, TypeError):  # a file, or a folder without a readable listing
        return False
