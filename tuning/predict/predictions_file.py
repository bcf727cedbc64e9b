"""The table of predictions: a CSV file that appears whole or not at all, together with its masks."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from trainables.core.atomic_write import atomic_file
from trainables.core.errors import UserError, first_line
from trainables.core.serving.ensembles.segmentation_ensemble import MASK
from trainables.core.serving.score_images import ScoredImage
from tuning.predict.mask_files import MaskFiles, mask_files

_LAST_COLUMNS = ("error", "unlike_training", "unlike_score")
_FIXED_COLUMNS = ("file", "class", *_LAST_COLUMNS)
_OF_PATIENTS = ("images", "first_image")
# Spreadsheets run a cell that begins with one of these as a formula. File and class names are untrusted.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


class PredictionsFile:
    """Writer of predictions, one row per image or per patient.

    Its columns are ``file``, ``class``, one probability per class, ``error``, ``unlike_training``, the ways in which
    the image differs from the training images, and ``unlike_score``, the distance of its features from theirs. A
    multi-label model has ``labels`` instead of ``class``.

    For patients the first column is ``patient``, ``unlike_training`` counts their images, and two columns follow:
    ``images``, their number, and ``first_image``, the name of the first, because names of patients may say little.

    A model with an operating point adds ``is_positive``: ``true`` where the probabilities reach its threshold. One with
    prediction sets adds ``prediction_set``, the classes or labels that are not ruled out, separated by ``|``, and
    ``abstain``: ``true`` unless that is one class. A multi-label model adds ``undecided`` instead: the labels that may
    be present or absent.

    For a segmentation the second column is ``mask``, the path of the mask, and a class's column is its share of the
    pixels. Probabilities have nine digits, which restore the float32 exactly. A class whose name is that of another
    column gets the heading ``p(class)``. Columns of a table of the images come last; one whose name is taken gets the
    heading ``table: NAME``. Text that a spreadsheet would run as a formula gets a leading apostrophe.

    The file and its masks replace earlier ones when the ``with`` block ends without an error. At any moment, even after
    a crash, the masks of the file at hand exist.
    """

    def __init__(self, file: Path):
        self._file = file
        self._class_names: Sequence[str] = ()
        self._decisions: Sequence[str] = ()
        self._masks: MaskFiles | None = None

    def begin(
        self,
        class_names: Sequence[str],
        answer: str = "class",
        decisions: Sequence[str] = (),
        patients: bool = False,
        columns: Sequence[str] = (),
    ) -> None:
        """Write the headings, and make a folder for masks beside the table if the answers are masks.

        Args:
            class_names: Names of the classes or labels.
            answer: Heading of the column of answers, as in ``Ensemble.answer_heading``.
            decisions: Headings of the columns of decisions, which are attributes of a row.
            patients: True if rows are of patients.
            columns: Columns of a table of the images, whose cells ``write`` gets last.

        Raises:
            UserError: The disk is full, or the folder cannot be made.
        """
        self._class_names, self._decisions = class_names, decisions
        unit = "patient" if patients else "file"
        more = (*decisions, *(_OF_PATIENTS if patients else ()))
        taken = {*_FIXED_COLUMNS, answer, unit, *more}
        headings = [f"p({name})" if name in taken else name for name in class_names]
        taken |= set(headings)
        more += tuple(f"table: {name}" if name in taken else name for name in columns)
        try:
            if answer == MASK:
                self._masks = self._after_table.enter_context(mask_files(self._file, class_names))
            self._writer.writerow(map(as_text, (unit, answer, *headings, *_LAST_COLUMNS, *more)))
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, row: ScoredImage, *more: str) -> None:
        """Add an image or a patient, with the cells of its further columns.

        Raises:
            UserError: The disk is full.
        """
        try:
            self._writer.writerow([*self._cells(row), *map(as_text, more)])
        except OSError as error:
            raise self._unwritable(error) from error

    def _cells(self, row: ScoredImage) -> list[str]:
        if self._masks is not None and row.mask is not None:
            file, shares = self._masks.write(row)
            return [as_text(row.name), as_text(file), *(f"{share:.9g}" for share in shares), "", *_unlike(row)]
        if row.probabilities is None:
            undecided = [""] * len(self._decisions)
            return [as_text(row.name), "", *([""] * len(self._class_names)), as_text(row.error), "", "", *undecided]
        decided = [_as_cell(getattr(row, name)) for name in self._decisions]
        figures = [f"{float(probability):.9g}" for probability in row.probabilities]
        return [as_text(row.name), as_text(row.answer), *figures, as_text(row.error), *_unlike(row), *decided]

    def __enter__(self) -> Self:
        try:
            with ExitStack() as stack:
                if self._file.is_dir():
                    raise IsADirectoryError("it is a folder")
                self._after_table = stack.enter_context(ExitStack())  # left after the table has been replaced
                partial = stack.enter_context(atomic_file(self._file))
                stack.push(self._publish_masks)
                self._writer = csv.writer(stack.enter_context(_synced_file(partial)))
                self._stack = stack.pop_all()
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, traceback)
        except OSError as failure:
            if kind is None:  # otherwise the block's own error is the one to report
                raise self._unwritable(failure) from failure

    def _publish_masks(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._masks is not None:
            self._masks.publish()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"--out must be writable, but {self._file} is not: {error.strerror or first_line(error)}")


def _unlike(row: ScoredImage) -> tuple[str, str]:
    return row.unlike, "" if row.unlike_score is None else f"{row.unlike_score:.4g}"


def _as_cell(decision: bool | str) -> str:
    return as_text(decision) if isinstance(decision, str) else str(decision).lower()


def as_text(cell: str) -> str:
    """Return a cell that every spreadsheet reads as text."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


@contextmanager
def _synced_file(file: Path) -> Iterator[TextIO]:
    """Yield a text file whose content is on the disk at the end. File names that are not UTF-8 are escaped."""
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as opened:
        yield opened
        opened.flush()
        os.fsync(opened.fileno())
