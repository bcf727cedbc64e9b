"""The column of images in parquet files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import DataError


def check_image_column(kind: Any, place: str) -> None:
    """Raise DataError if images cannot be read from a column of this Arrow type.

    It may be binary, or the hub's struct with binary ``bytes``. Both may have large offsets.
    """
    from pyarrow import types

    stored = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not is_binary(stored):
        raise DataError(
            f"{place}: the column image must contain encoded bytes (binary, or struct<bytes, path>), but is {kind}"
        )


def is_binary(kind: Any) -> bool:
    """Return True for an Arrow type of bytes."""
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def bytes_of(column: Any) -> Any:
    """Return the binary array in an Arrow array of images."""
    from pyarrow import types

    return column.field("bytes") if types.is_struct(column.type) else column


def kind_of_rest(column: Any) -> str:
    """Return the content of a column without any bytes, in words."""
    from pyarrow import types

    kind = column.type
    if types.is_struct(kind) and kind.get_field_index("path") >= 0:
        path = next((cell["path"].as_py() for cell in column if cell.is_valid and cell["path"].is_valid), None)
        if path is not None:
            return f"paths, such as {printable(path)}"
    return "nulls"


def encoded_bytes(cell: Any) -> bytes:
    """Return the encoded image in one Arrow cell.

    Raises:
        OSError: The cell has none.
    """
    value = cell.as_py()
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if data:
        return bytes(data)
    raise OSError(
        f"the row has only the path {printable(str(path))!r} and no bytes" if path else "the row has no image"
    )


def file_names(tables: Sequence[Any]) -> list[str]:
    """Return the file names in the image struct's ``path``."""
    from pyarrow import types

    names = []
    for table in tables:
        for chunk in table.column("image").chunks:
            known = types.is_struct(chunk.type) and chunk.type.get_field_index("path") >= 0
            names += [Path(path or "").name for path in chunk.field("path").to_pylist()] if known else [""] * len(chunk)
    return names
