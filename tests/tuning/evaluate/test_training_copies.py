from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.images import png, write_classes, write_labelled
from trainables.core.data.audited_dataset import open_dataset
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.groups import Grouping
from tuning.evaluate.data.external_data import ExternalData
from tuning.evaluate.training_copies import find_training_copies


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path / "cache"))


def opened(place, table=None, **grouping):
    return open_dataset(str(place), table, Grouping(**grouping), None, None, None, None, None)


def found_in(search, place, image, **metadata):
    """Look for a turned copy of an image among new ones; the model stores no features."""
    write_classes(place, {"a": 4, "b": 4}, seed=9)
    (place / "a" / "turned.png").write_bytes(png(np.rot90(image)))
    new = opened(place)
    external = ExternalData(new.source, replace(new.data, splits={"test": new.usable}), np.arange(2), {})
    model = SimpleNamespace(pixel_format=search.data.pixel_format, training_features=None)
    known = {"data": search.data.place, "data_fingerprint": search.data.fingerprint, **metadata}
    return find_training_copies(external, model, known, lambda _: None)[1]


def test_copies_are_found_whatever_grouped_the_images_of_the_search(tmp_path):
    """Without --group-column, nobody knows which of the columns names the patients."""
    images = np.random.default_rng(0).integers(0, 256, (24, 32, 32), dtype=np.uint8)
    columns = {
        "image": [{"bytes": png(image), "path": None} for image in images],
        "label": ["a", "b"] * 12,
        "patient_id": [f"P{number // 2}" for number in range(24)],
        "subject": [f"S{number // 4}" for number in range(24)],
    }
    folder = tmp_path / "search"
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "train.parquet")
    search = opened(folder, column="patient_id")
    copies = found_in(search, tmp_path / "new", images[3])
    assert (copies.images, copies.names) == (1, ("a/turned.png",)) and "also if turned" in copies.method


def test_copies_are_found_from_a_folder_with_another_table_of_labels(tmp_path, monkeypatch):
    folder, elsewhere = write_labelled(tmp_path / "search", 12), write_labelled(tmp_path / "elsewhere", 8, seed=1)
    table = LabelTable(("labels.csv",))
    search = opened(folder, table)
    monkeypatch.chdir(elsewhere)
    image = np.asarray(Image.open(folder / "003.png"))
    copies = found_in(search, tmp_path / "new", image, data_table={**asdict(table), "files": ["labels.csv"]})
    assert copies.images == 1 and "also if turned" in copies.method
