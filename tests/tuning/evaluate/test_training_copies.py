from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.images import png
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.splits.groups import Grouping
from tuning.evaluate.training_copies import _open_search


def test_the_data_of_a_search_with_a_chosen_column_of_patients_are_found(tmp_path):
    """The model does not say which of two columns that was, and copies do not depend on it."""
    shades = np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8)
    columns = {"patient_id": np.arange(8) // 4, "subject": np.arange(8) // 2}
    table = pa.table({"image": pa.array(map(png, shades)), "label": ["a", "b"] * 4, **columns})
    pq.write_table(table, tmp_path / "train.parquet")
    fingerprint = inspect(str(tmp_path), grouping=Grouping(column="patient_id")).fingerprint
    ensemble = SimpleNamespace(pixel_format=SimpleNamespace(window=None, slicing=None))
    opened = _open_search(ensemble, {"data": str(tmp_path), "data_fingerprint": fingerprint})
    assert opened is not None and len(opened.usable) == 8
