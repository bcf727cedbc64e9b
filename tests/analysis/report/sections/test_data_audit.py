import dataclasses

import numpy as np

from analysis.report.sections.data_audit import data_audit, split_of
from tests.analysis.report.report_inputs import made_up_search, made_up_study
from tests.images import write_classes
from trainables.core.data.prepare import prepare
from trainables.core.data.splits.groups import CurvePoint


def test_images_are_counted_by_class_and_split(search):
    data = search.data
    table = next(block for block in data_audit(search).blocks if block.title == "Classes and splits")
    for row, name in zip(table.rows, data.class_names, strict=True):
        counts = dict(zip(table.headings, row, strict=True))
        assert counts["class"] == name
        files = [index for index, label in enumerate(data.labels) if data.class_names[label] == name]
        assert int(counts["images"]) == len(files)
        assert {split: int(counts[split]) for split in data.splits} == {
            split: sum(split_of(search, index) == split for index in files) for split in data.splits
        }


def test_the_threshold_in_use_is_in_bold(search):
    table = data_audit(search).blocks[-1]
    assert [float(table.rows[position][0]) for position in table.bold] == [search.data.audit.threshold]


def test_copies_across_the_published_splits_are_shown_and_warned_about(tmp_path):
    write_classes(tmp_path / "data" / "train", {"few": 12, "many": 20})
    write_classes(tmp_path / "data" / "test", {"few": 6, "many": 6}, seed=1)
    for name in ("000", "001"):
        copied = (tmp_path / "data" / "train" / "few" / f"{name}.png").read_bytes()
        (tmp_path / "data" / "test" / "few" / f"{name}.png").write_bytes(copied)
    data = prepare(str(tmp_path / "data"), sizes=[32], seed=0, split="published", store=tmp_path / "store")
    assert data.test_twins == 2
    search = made_up_search(data, made_up_study())
    section = data_audit(search)
    assert section.warning.startswith("2 of 12 test images")
    pairs = next(block for block in section.blocks if block.title == "Suspicious pairs")
    across = [
        example
        for example in pairs.examples
        if example.lines[0].startswith("Across published training and test: similarity 1.000, rotated by 0°")
    ]
    assert len(across) == 2
    for example in across:
        assert example.flagged
        first, second = (line.partition(":")[0] for line in example.lines[1:])
        pixels = [data.images(32)[search.file_names.index(name)] for name in (first, second)]
        np.testing.assert_array_equal(*pixels)
        assert {split_of(search, search.file_names.index(name)) for name in (first, second)} > {"test"}


def test_equal_rows_of_thresholds_are_one_row(search):
    audit = search.data.audit
    curve = tuple(CurvePoint(0.5 + place / 100, 7, 3, 0.5) for place in range(13))
    shown = dataclasses.replace(search.data, audit=dataclasses.replace(audit, curve=curve, threshold=0.56))
    table = data_audit(dataclasses.replace(search, data=shown)).blocks[-1]
    assert [row[0] for row in table.rows] == ["0.5 to 0.53", "0.56", "0.59 to 0.62"]
    assert list(table.bold) == [1]
