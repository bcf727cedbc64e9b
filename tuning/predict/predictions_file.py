"""The table of predictions: a CSV file that appears whole, or not at all; with masks, together with these."""

import csv
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from trainables.core.errors import UserError, first_line
from trainables.core.serving.score_images import ScoredImage
from tuning.predict.mask_files import MaskFiles

_FIXED = ("file", "class", "error")
# A spreadsheet takes a cell that begins so for a formula and runs it; file and class names come from outside.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


class PredictionsFile:
    """Writes ``file``, ``class``, a column of probabilities a class, and ``error``, a row an image.

    Text that a spreadsheet would take for a formula gets an apostrophe in front. Probabilities have nine digits, which
    give the float32 back exactly. A class that is called like one of the other columns is headed ``p(class)``. Of a
    segmentation ``mask`` names the mask's file instead of a class, and a class's column is its share of the pixels.
    """

    def __init__(self, file: Path):
        """Opens a partial file beside ``file``, which is replaced at the end.

        Raises:
            UserError: It cannot be written there.
        """
        self._file = file
        self._class_names: Sequence[str] = ()
        self._masks: MaskFiles | None = None
        try:
            if file.is_dir():
                raise IsADirectoryError("it is a folder")
            self._partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
            # Names that are no UTF-8 are written with their bytes as \udcNN.
            self._opened = self._partial.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise self._unwritable(error) from error
        self._writer = csv.writer(self._opened)

    def begin(self, class_names: Sequence[str], masks: bool = False) -> None:
        """Writes the headings; with ``masks``, rows bring masks, which go into a folder beside the table.

        Raises:
            UserError: There can be no such folder.
        """
        self._class_names, self._masks = class_names, MaskFiles(self._file, class_names) if masks else None
        headings = [f"p({name})" if name in _FIXED else name for name in class_names]
        self._writer.writerow(map(as_text, ("file", "mask" if masks else "class", *headings, "error")))

    def write(self, row: ScoredImage) -> None:
        """Adds an image.

        Raises:
            UserError: The disk takes no more.
        """
        try:
            self._writer.writerow(self._cells(row))
        except OSError as error:
            raise self._unwritable(error) from error

    def _cells(self, row: ScoredImage) -> list[str]:
        if self._masks is not None and row.mask is not None:
            file, shares = self._masks.write(row)
            return [as_text(row.name), as_text(file), *(f"{share:.9g}" for share in shares), ""]
        if row.probabilities is None:
            return [as_text(row.name), "", *([""] * len(self._class_names)), as_text(row.error)]
        predicted = self._class_names[int(row.probabilities.argmax())]
        figures = [f"{float(probability):.9g}" for probability in row.probabilities]
        return [as_text(row.name), as_text(predicted), *figures, ""]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._opened.flush()
            os.fsync(self._opened.fileno())
            self._opened.close()
            if kind is None:
                if self._masks is not None:
                    self._masks.replace()
                self._partial.replace(self._file)
        except OSError as failed:
            if kind is None:
                raise self._unwritable(failed) from failed
        finally:
            self._partial.unlink(missing_ok=True)
            if self._masks is not None:
                self._masks.discard()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"--out must be writable, but {self._file} is not: {error.strerror or first_line(error)}")


def as_text(cell: str) -> str:
    """A cell that every spreadsheet takes for text."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
