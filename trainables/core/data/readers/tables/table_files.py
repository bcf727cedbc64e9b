"""Tables in CSV, TSV, Excel and parquet files, as columns of text."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from trainables.core.data.readers.untrusted_files import read_file
from trainables.core.errors import DataError, first_line, install_extra

_SEPARATORS = ",;\t|"
_QUOTED = r'(?<![^,;\t|\r\n])"[^"]*(?:""[^"]*)*"'  # a cell, which may have several lines
_TEXT, _EXCEL, _PARQUET = (".csv", ".tsv", ".txt"), (".xlsx", ".xlsm"), (".parquet",)
TABLE_SUFFIXES = frozenset({*_TEXT, *_EXCEL, *_PARQUET})
# Spellings of a missing value that R, pandas, databases and Excel write. "None" is not among them: it can be a class.
_MISSING = frozenset({"", "?", "NA", "N/A", "n/a", "NaN", "nan", "NaT", "<NA>", "NULL", "null"})
_EXCEL_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"})
# Spaces, and characters that nobody sees.
_BLANKS = r"[\s\u00ad\u200b-\u200f\u2060\ufeff]+"
Columns = Mapping[str, list[str]]


def read_table(file: Path) -> Columns:
    """Read a table.

    Returns:
        The columns in order: name to its values as text without surrounding blanks, "" for missing values. Whole
        numbers have no decimal point, since a column with missing values often stores ``7`` as ``7.0``.

    Raises:
        DataError: The file cannot be read, is not a valid table, or has two columns of the same name.
    """
    suffix = file.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"a table must be one of {', '.join(sorted(TABLE_SUFFIXES))}, but got {file}")
    header, *rows = list(_text_rows(file) if suffix in _TEXT else _typed_rows(file, suffix)) or [[]]
    if not rows:
        raise DataError(f"a table must have a header and a row per image, but {file} has no rows")
    names = [_stripped(cell) for cell in header]
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise DataError(f"columns must have different names, but {file} has {names.count(doubled[0])} {doubled[0]!r}")
    return {name: [cell_text(row[place]) for row in rows] for place, name in enumerate(names) if name}


def cell_text(cell: Any) -> str:
    """Return a cell as text, as in the columns of ``read_table``."""
    value = re.sub(r"^(-?\d+)\.0+$", r"\1", _stripped(_as_text(cell)))
    return "" if value in _MISSING | _EXCEL_ERRORS else value


def _stripped(cell: str) -> str:
    return re.sub(f"^{_BLANKS}|{_BLANKS}$", "", cell)


def _text_rows(file: Path) -> Iterator[list[str]]:
    """Yield the rows of a text table."""
    try:
        content = read_file(file)
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"a table must be UTF-8 text, but {file} is not: save it as UTF-8") from error
    stated = re.match(r"sep=(.)\r?\n", text)  # a line that Excel understands
    text = text[stated.end() :] if stated else text
    separator = stated[1] if stated else _find_separator(text, file.suffix.lower())
    # Without newline="", a line break within quotes would be changed.
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    width = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue  # spreadsheets append empty lines
            width = width or len(row)
            if len(row) != width:
                raise DataError(
                    f"every row must have {width} columns like the header, but line {reader.line_num} of {file} has "
                    f"{len(row)}: quote values that contain {separator!r}"
                )
            yield row
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} of {file} is not valid CSV: {error}") from error


def _find_separator(text: str, suffix: str) -> str:
    """Return the separator that is most frequent in the header, preferring those that split the next row equally."""
    lines = re.sub(_QUOTED, "", text).splitlines()
    header, row = ([line for line in lines if line.strip()] + ["", ""])[:2]
    if suffix == ".tsv" and "\t" in header:
        return "\t"
    return max(_SEPARATORS, key=lambda sign: (0 < header.count(sign) == row.count(sign), header.count(sign)))


def _typed_rows(file: Path, suffix: str) -> Iterator[list[str]]:
    """Yield the rows of a table whose cells have types."""
    for row in _excel_rows(file) if suffix in _EXCEL else _parquet_rows(file):
        cells = [_as_text(cell) for cell in row]
        if any(cell.strip() for cell in cells):
            yield cells


def _as_text(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    return "" if cell is None else str(cell)


def _excel_rows(file: Path) -> Iterable[tuple[Any, ...]]:
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(f"reading {file} needs openpyxl: save it as CSV, or {install_extra('excel')}") from error
    try:
        book = openpyxl.load_workbook(file, data_only=True)  # a sheet opened read-only lacks the hidden rows' marks
        sheets = [sheet for sheet in book.worksheets if any(cell is not None for row in sheet.values for cell in row)]
    except Exception as error:  # openpyxl documents no common class of errors for damaged files
        raise DataError(f"{file} is not a readable Excel file: {first_line(error)}") from error
    if len(sheets) > 1:
        raise DataError(f"an Excel file must have one sheet, but {file} has {len(sheets)}: save one of them as CSV")
    for sheet in sheets:
        _check_sheet(sheet, file)
    return list(sheets[0].values) if sheets else []


def _check_sheet(sheet: Any, file: Path) -> None:
    """Raise DataError for hidden rows and merged cells, whose meaning is not in the values."""
    hidden = [number for number, row in sheet.row_dimensions.items() if row.hidden and number <= sheet.max_row]
    if hidden:
        raise DataError(
            f"no row of {file} may be hidden, but {len(hidden)} are, such as row {min(hidden)}, perhaps by a filter: "
            "delete or show them"
        )
    if merged := [str(cells) for cells in sheet.merged_cells.ranges]:
        raise DataError(
            f"no cells of {file} may be merged, but {min(merged)} are: unmerge them and write the value into each cell"
        )


def _parquet_rows(file: Path) -> Iterable[tuple[Any, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file).read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{file} is not a readable parquet file: {first_line(error)}") from error
    names = table.column_names
    columns = [column_values(column, name, str(file)) for name, column in zip(names, table.columns, strict=True)]
    return [tuple(names), *zip(*columns, strict=True)]


def column_values(column: Any, name: str, place: str) -> list[Any]:
    """Return the values of an Arrow column, as text if Python has no such value: a date beyond the year 9999.

    Raises:
        DataError: Text cannot express them either.
    """
    import pyarrow as pa

    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):  # among them is ArrowInvalid
        pass
    try:
        return list(column.cast("string").to_pylist())
    except pa.ArrowException as error:
        raise DataError(
            f"column {name} of {place} cannot be read ({column.type}: {first_line(error)}): store it as text, or "
            "remove it"
        ) from error
