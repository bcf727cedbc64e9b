"""The masks of a segmentation beside the table of its predictions: a folder that appears whole, or not at all."""

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.core.errors import UserError, first_line
from trainables.core.serving.score_images import ScoredImage
from trainables.core.serving.segmentation_ensemble import as_png

_WRITTEN = ".tune-predict.json"  # the names of the masks beside it


class MaskFiles:
    """Writes masks, a PNG an image, and tells of each what it covers.

    The folder is named like the table, without its suffix; files are numbered in the images' order. Values are classes:
    0 the background, 1 + c class c. A folder of an earlier run is replaced, unless something else was put into it.
    """

    def __init__(self, table: Path, class_names: Sequence[str]):
        """Makes a partial folder beside the one that ``replace`` puts it in the place of.

        Raises:
            UserError: That holds something else, or none can be made.
        """
        self.class_names, self._folder = class_names, table.with_suffix("")
        self._partial = self._folder.with_name(f".{self._folder.name}.{uuid.uuid4().hex}.partial")
        self._names: list[str] = []
        if self._folder == table:
            raise UserError(f"masks need a folder of another name than {table}: give --out a suffix, like .csv")
        self._check_ours()
        try:
            self._partial.mkdir()
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, row: ScoredImage) -> tuple[str, list[float]]:
        """Writes an image's mask; returns its file and the share of its pixels that each class has.

        Raises:
            UserError: The disk takes no more.
        """
        assert row.mask is not None
        name = f"{len(self._names):06d}-{Path(row.name).stem}.png"
        self._names.append(name)
        try:
            (self._partial / name).write_bytes(as_png(row.mask))
        except OSError as error:
            raise self._unwritable(error) from error
        shares = np.bincount(row.mask.ravel(), minlength=1 + len(self.class_names))[1:] / row.mask.size
        return str(self._folder / name), shares.tolist()

    def replace(self) -> None:
        """Puts what was written in its place.

        Raises:
            UserError: Something else is there by now, or it cannot be written.
        """
        self._check_ours()
        before = self._partial.with_suffix(".before")
        try:
            (self._partial / _WRITTEN).write_text(json.dumps(self._names))
            if self._folder.exists():
                self._folder.rename(before)
            self._partial.rename(self._folder)
        except OSError as error:
            raise self._unwritable(error) from error
        shutil.rmtree(before, ignore_errors=True)

    def discard(self) -> None:
        """Removes what was written but not put in its place."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _check_ours(self) -> None:
        if self._folder.exists() and not _is_ours(self._folder):
            rule = "masks replace those of an earlier run, and nothing else"
            raise UserError(f"{rule}, but {self._folder} holds more: move it away, or give another --out")

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"masks must be writable, but {self._folder} is not: {error.strerror or first_line(error)}")


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing but what a run has listed as its own; an empty one does."""
    try:
        found = {file.name for file in folder.iterdir()}
        listed = json.loads((folder / _WRITTEN).read_text()) if found else []
        return not folder.is_symlink() and found <= {_WRITTEN, *listed}
    except (OSError, ValueError, TypeError):  # it is no folder, or without a list
        return False
