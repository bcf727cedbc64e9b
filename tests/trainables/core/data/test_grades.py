import dataclasses
import json
import re

import numpy as np
import pytest

from tests.images import write_classes, write_labelled, write_pairs
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.grades import grade_order, graded
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.errors import DataError
from tuning.study.data_request import DataRequest

STAGES = ("none", "mild", "severe")


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path / "data", {"severe": 8, "none": 12, "mild": 8})


def prepared(root, tmp_path, **options):
    return prepare(str(root), sizes=[16], seed=0, store=tmp_path / "store", **options)


@pytest.mark.parametrize(
    ("names", "ordered", "expected"),
    [
        (("0", "1", "2"), None, ("0", "1", "2")),
        (("1", "10", "2"), None, ("1", "2", "10")),
        (("0", "0.5", "1", "2"), None, ("0", "0.5", "1", "2")),  # clinical dementia rating
        (("0", "1", "2"), False, None),
        (("0", "1"), None, None),
        (("0", "1"), True, ("0", "1")),
        (("1", "01", "2"), None, None),
        (("110165", "110166", "110167"), None, None),  # codes
        (("KL0", "KL1", "KL2"), None, None),
        (("KL10", "KL2", "KL1"), True, ("KL1", "KL2", "KL10")),
        (("-1", "0", "1"), None, None),
        (("-1", "0", "-2"), True, ("-2", "-1", "0")),
        (("grade-2", "grade-1"), True, ("grade-1", "grade-2")),
        (("mild", "none", "severe"), STAGES, STAGES),
        (("mild", "none"), STAGES, ("none", "mild")),
        ((), None, None),
    ],
)
def test_order(names, ordered, expected):
    assert grade_order(names, ordered) == expected


@pytest.mark.parametrize(
    ("names", "ordered", "message"),
    [
        (("mild", "none", "severe"), True, r"must each have a number of their own .* but these are mild, none, severe"),
        (("a1", "b1"), True, "must each have a number of their own"),
        (("T1 N0", "T2 N0"), True, "must each have a number of their own"),
        (("mild", "moderate", "none"), STAGES, "ordered must list every class, but .* lacks moderate"),
    ],
)
def test_an_unknown_order_is_refused(names, ordered, message):
    with pytest.raises(DataError, match=message):
        grade_order(names, ordered)


def test_grades_are_the_same_images_with_their_classes_in_another_order(root, tmp_path):
    plain, data = prepared(root, tmp_path), prepared(root, tmp_path, ordered=STAGES)
    assert plain.class_names == ("mild", "none", "severe") and not plain.ordered
    assert data.class_names == STAGES and data.ordered and list(data.audit.class_counts) == list(STAGES)
    assert [data.class_names[label] for label in data.labels] == [plain.class_names[label] for label in plain.labels]
    assert data.audit == plain.audit and data.fingerprint == plain.fingerprint
    assert all(np.array_equal(data.splits[name], plain.splits[name]) for name in plain.splits)
    assert set(data.notes) - set(plain.notes) == {
        "classes are treated as grades, as declared: none < mild < severe (tune-run --unordered: without an order)"
    }
    elsewhere = dataclasses.replace(data, store=tmp_path / "other node")
    np.testing.assert_array_equal(elsewhere.images(16), plain.images(16))


def test_numbers_are_grades_by_default(tmp_path):
    root = write_classes(tmp_path / "data", {str(grade): 6 for grade in range(11)})
    names = tuple(map(str, range(11)))
    assert open_source(str(root)).class_names == tuple(sorted(names)) != names
    for data in (prepared(root, tmp_path), inspect(str(root), store=tmp_path / "store")):
        assert data.class_names == names and list(data.audit.class_counts) == list(names)
        assert any("because their names are numbers: 0 < 1 < 2 <" in note for note in data.notes)
        for label, name in zip(data.labels, open_source(str(root)).names, strict=True):
            assert name.startswith(f"{label}/")
    assert not prepared(root, tmp_path, ordered=False).ordered


def test_an_image_without_a_label_has_none_as_a_grade(root, tmp_path):
    (root / "stray.png").write_bytes((root / "none" / "000.png").read_bytes())
    data = prepared(root, tmp_path, ordered=STAGES, skip_bad_images=True)
    assert (data.labels == -1).sum() == 1 and data.class_names == STAGES


def test_images_with_several_labels_have_no_grade(root, tmp_path):
    data = prepared(root, tmp_path)
    several = dataclasses.replace(data, class_names=("0", "1", "2"), labels=np.eye(3, dtype=np.int64)[data.labels])
    unchanged = graded(several, None)
    assert not unchanged.ordered and unchanged.labels is several.labels


def test_only_images_with_one_class_each_can_be_ordered(tmp_path):
    masked = write_pairs(tmp_path / "masked", 4)
    labelled = write_labelled(tmp_path / "labelled", 8)
    for place, table, found in ((masked, None, "masks"), (labelled, LabelTable(("labels.csv",)), "several labels")):
        with pytest.raises(DataError, match=f"--ordered needs one class per image, but these data have {found}"):
            inspect(str(place), table=table, ordered=True, store=tmp_path / "store")


def test_an_unknown_order_is_refused_before_the_audit(root, tmp_path, monkeypatch):
    monkeypatch.delattr("trainables.core.data.prepare.audited")
    with pytest.raises(DataError, match="must each have a number of their own in the name"):
        prepared(root, tmp_path, ordered=True)


def test_the_grades_of_other_data_are_ignored_with_a_note(root, tmp_path):
    data = prepared(root, tmp_path, ordered=("I", "II", "III"))
    assert not data.ordered
    assert any(re.search("none of the space's grades I, II, III is a class", note) for note in data.notes)


@pytest.mark.parametrize("ordered", [None, False, STAGES])
def test_a_saved_request_gives_the_same_order(root, ordered):
    request = DataRequest(str(root), seed=0, ordered=ordered)
    assert DataRequest.from_dict(json.loads(json.dumps(dataclasses.asdict(request)))) == request
    before = {name: value for name, value in dataclasses.asdict(request).items() if name != "ordered"}
    assert DataRequest.from_dict(before).ordered is False  # searches before grades were without
