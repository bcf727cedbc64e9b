"""Images for the benchmarks."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.core.data.readers.open_source import open_source

_FOLDER = Path(os.environ.get("TUNE_RUN_DATA") or Path(__file__).parents[3] / "shared" / "data") / "alzheimer_mri"


def mri(split: str) -> pa.Table:
    """Return brain MRI images of $TUNE_RUN_DATA, or phantoms: columns ``image`` {bytes, path} and ``label``."""
    files = sorted(_FOLDER.rglob(f"{split}-*.parquet"))
    if files:
        return pa.concat_tables([pq.read_table(file) for file in files])
    source = open_source("phantoms")
    rows = range(len(source))
    return pa.table(
        {"image": [{"bytes": source.read(row), "path": source.names[row]} for row in rows], "label": source.labels}
    )


def source_name() -> str:
    """Return the name of the data set that ``mri`` reads."""
    return "Falah/Alzheimer_MRI" if _FOLDER.is_dir() else "phantoms"
