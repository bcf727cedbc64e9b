import dataclasses
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.images import png, write_classes
from trainables.core.data import audited_dataset
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.phantoms import CLASS_NAMES, SLICES_PER_SUBJECT, make_phantoms
from trainables.core.data.splits.audit import Audit, describe_raised, summary
from trainables.core.data.splits.groups import Grouping


def write_phantoms(root, published=False):
    """Write 60 subjects as class folders. If published, the first slice of each subject is in ``test``."""
    phantoms = make_phantoms(subjects=60)
    for index, (image, label, subject) in enumerate(
        zip(phantoms.images, phantoms.labels, phantoms.subjects, strict=True)
    ):
        side = ("test" if index % SLICES_PER_SUBJECT == 0 else "train") if published else "."
        folder = root / side / CLASS_NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"subject{subject}_{index}.png").write_bytes(png(image))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A node's cache: tests that need the same audit share it."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def unpublished(tmp_path_factory):
    """A folder of phantoms without a published split. No test changes it."""
    root = tmp_path_factory.mktemp("unpublished")
    write_phantoms(root)
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The same phantoms, with a published test split. No test changes it."""
    root = tmp_path_factory.mktemp("published")
    write_phantoms(root, published=True)
    return root


def audited(root, store, **options):
    return inspect(str(root), store=store, **options).audit


def test_a_published_split_that_divides_subjects_is_a_leak(published, store):
    audit = audited(published, store)
    assert audit.leaks and audit.test_twins_in_train == 1
    assert (audit.images, audit.groups, audit.largest_group, audit.named) == (360, 60, 6, "groups")
    assert audit.groups_per_class == dict(zip(CLASS_NAMES, [12, 12, 15, 21], strict=True))
    assert audit.published.accuracy > 0.95  # memory
    assert audit.grouped.accuracy < 0.7
    assert len(audit.pairs["test and train"]) > 12
    assert any("on the published test split" in line for line in summary(audit))


def test_a_data_set_without_a_published_split_has_no_leak(unpublished, store):
    audit = audited(unpublished, store)
    assert not audit.leaks
    assert audit.test_twins_in_train is None and audit.published is None
    assert audit.grouped is not None


def test_a_published_test_split_without_other_images_is_noted_and_has_no_figures(tmp_path):
    write_classes(tmp_path / "data" / "test", {"a": 4, "b": 4})
    data = inspect(str(tmp_path / "data"), store=tmp_path / "store")
    assert (data.audit.published, data.audit.test_twins_in_train) == (None, None)
    assert data.notes == ("all usable images are in the published test split, so there is none to train on",)


def test_faulty_images_are_listed(unpublished, store, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(unpublished, root)
    none = sorted((root / CLASS_NAMES[2]).iterdir())
    buffer = io.BytesIO()
    Image.open(none[0]).save(buffer, "TIFF")
    (root / CLASS_NAMES[2] / "same pixels.tif").write_bytes(buffer.getvalue())  # other bytes
    shutil.copy(none[10], root / CLASS_NAMES[0] / "other label.png")
    (root / CLASS_NAMES[2] / "blank.png").write_bytes(png(np.full((64, 64), 7, np.uint8)))
    stark = np.random.default_rng(0).choice([0, 255], (8, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    (root / CLASS_NAMES[2] / "stark.png").write_bytes(png(stark))
    (root / CLASS_NAMES[2] / "torn.png").write_bytes(none[3].read_bytes()[:200])
    audit = audited(root, store)
    assert audit.images == 365
    assert audit.exact_duplicates == 2
    assert audit.contradicting_groups == 1
    assert max(pair.similarity for pair in audit.pairs["labels differ"]) > 0.999
    assert list(audit.broken) == [f"{CLASS_NAMES[2]}/torn.png"]
    assert audit.blank == (f"{CLASS_NAMES[2]}/blank.png",)
    assert f"{CLASS_NAMES[2]}/stark.png" in audit.outlying
    assert audit.groups == 62  # 60 subjects, the blank one and the stark one


@pytest.mark.parametrize("rule", ["column", "pattern"])
def test_given_groups_are_subjects(unpublished, store, tmp_path, rule):
    if rule == "pattern":
        root, grouping = unpublished, Grouping(pattern=r"(subject\d+)_")
    else:
        root, phantoms = tmp_path, make_phantoms(subjects=60)
        rows = [{"bytes": png(image), "path": None} for image in phantoms.images]
        table = {"image": rows, "label": phantoms.labels.tolist(), "patient": [f"p{s}" for s in phantoms.subjects]}
        pq.write_table(pa.table(table), root / "train-0.parquet")
        grouping = Grouping(column="patient")
    audit = audited(root, store, grouping=grouping)
    assert (audit.named, audit.groups, audit.threshold) == ("subjects", 60, None)
    assert len(audit.curve) > 5
    assert "60 subjects (as given)" in summary(audit)[0]


@pytest.mark.parametrize(
    ("grouping", "named"),
    [
        (Grouping(usual_pattern=r"(subject\d+)_"), "subjects"),
        (Grouping(usual_pattern=r"(subject1\d+)_"), "groups"),  # not every file is named so
        (Grouping(usual_pattern=r"(subject\d+)_", threshold=0.9), "groups"),
        (Grouping(usual_pattern="nowhere", pattern=r"(subject\d+)_"), "subjects"),
    ],
)
def test_a_usual_pattern_applies_if_every_file_matches_and_no_other_rule_is_set(unpublished, store, grouping, named):
    data = prepare(str(unpublished), sizes=[16], seed=0, grouping=grouping, store=store)
    assert data.audit.named == named
    noted = any("do not match the space's pattern" in note for note in data.notes)
    assert noted == (named == "groups" and grouping.threshold is None)


def test_a_pattern_can_make_each_image_its_own_group_after_an_earlier_audit(unpublished, store):
    assert audited(unpublished, store).groups == 60
    assert audited(unpublished, store, grouping=Grouping(pattern=r"_(\d+)\.png")).groups == 360


def test_another_threshold_does_not_search_for_copies_again(unpublished, store, monkeypatch):
    audited(unpublished, store)
    monkeypatch.setattr(audited_dataset, "find_copies", None)
    audit = audited(unpublished, store, grouping=Grouping(threshold=0.97))
    assert audit.threshold == 0.97
    assert any(pair.zoom != 1 for pairs in audit.pairs.values() for pair in pairs)  # only registration finds a zoom


def test_renamed_files_have_their_new_names(tmp_path, store):
    root = write_classes(tmp_path / "images", {"few": 12, "many": 12})
    shutil.copy(root / "few" / "000.png", root / "few" / "000_again.png")
    named = set(audited(root, store).names.values())
    for file in sorted(root.glob("*/*.png")):
        file.rename(file.with_name(f"a{file.name}"))  # in the same order
    renamed = set(audited(root, store).names.values())
    assert named and renamed == {name.replace("few/", "few/a") for name in named}


def test_an_audit_survives_json(published, store):
    audit = audited(published, store)
    plain = json.loads(json.dumps(audit.to_dict()))
    assert Audit.from_dict(plain) == audit
    assert plain["nearest_neighbour"]["published"]["balanced_accuracy"] == audit.published.balanced_accuracy


@pytest.mark.slow
@pytest.mark.mri
@pytest.mark.parametrize(("share", "tolerance"), [(1.0, 0.05), (0.8, 0.10)])
def test_neighbours_outside_the_group_of_an_mri_slice_score_like_chance(real_data, tmp_path, share, tolerance):
    root = tmp_path / "data"
    root.mkdir()
    for file in sorted((real_data / "alzheimer_mri" / "data").glob("*.parquet")):
        table = pq.read_table(file)
        rows = np.random.default_rng(0).permutation(len(table))[: round(share * len(table))]
        pq.write_table(table.take(pa.array(np.sort(rows))), root / file.name)
    audit = audited(root, tmp_path / "store")
    (point,) = [point for point in audit.curve if point.threshold == audit.threshold]
    assert audit.published.accuracy > 0.97
    assert point.neighbour_accuracy <= audit.majority_share + tolerance
    assert audit.grouped.accuracy <= audit.majority_share + tolerance
    assert audit.largest_group <= 0.05 * audit.images


def write_patients(root, change):
    """Write 24 patients of four different images each; ``change`` may replace the last one of each."""
    generator = np.random.default_rng(0)
    images, patients = generator.integers(0, 255, (96, 32, 32), dtype=np.uint8), np.repeat(np.arange(24), 4)
    rows = [
        {"bytes": png(change(patient, image) if place % 4 == 3 else image), "path": None}
        for place, (patient, image) in enumerate(zip(patients.tolist(), images, strict=True))
    ]
    root.mkdir()
    table = {"image": rows, "label": patients % 2, "patient_id": patients}
    pq.write_table(pa.table(table), root / "train-0.parquet")
    return root


def test_blank_images_do_not_join_patients(tmp_path):
    root = write_patients(tmp_path / "data", lambda patient, image: image * 0 if patient % 3 else image)
    audit = audited(root, tmp_path / "store")
    assert (audit.groups, audit.largest_group, audit.exact_duplicates, len(audit.blank)) == (24, 4, 0, 16)
    data = prepare(str(root), sizes=[16], seed=0, skip_bad_images=True, store=tmp_path / "store")
    assert len(np.unique(data.groups)) == 24


def test_a_placeholder_that_joins_many_patients_is_noted(tmp_path):
    placeholder = np.random.default_rng(1).integers(0, 255, (32, 32), dtype=np.uint8)
    root = write_patients(tmp_path / "data", lambda patient, image: placeholder if patient < 10 else image)
    data = inspect(str(root), store=tmp_path / "store")
    (note,) = [note for note in data.notes if "equal images join" in note]
    assert note.startswith("equal images join 10 patients into one group of 40 images, the first of them train row 0:")


def test_similar_images_of_different_patients_are_listed_apart(tmp_path):
    root = write_patients(tmp_path / "data", lambda _, image: image)
    table = pq.read_table(root / "train-0.parquet").to_pylist()
    first = np.asarray(Image.open(io.BytesIO(table[0]["image"]["bytes"])))
    table[7]["image"]["bytes"] = png(first // 2 + 60)  # of another patient, and not equal
    pq.write_table(pa.Table.from_pylist(table), root / "train-0.parquet")
    data = inspect(str(root), store=tmp_path / "store")
    assert data.groups[0] != data.groups[7]
    assert [(pair.first, pair.second) for pair in data.audit.apart] == [(0, 7)]
    assert not any(data.audit.pairs.values())
    assert {0, 7} <= data.audit.names.keys()


def test_a_raised_threshold_is_noted_with_the_remedy(unpublished, store):
    audit = audited(unpublished, store)
    assert describe_raised(audit) == []
    lowest = dataclasses.replace(audit.curve[0], largest=270)
    raised = dataclasses.replace(audit, threshold=0.95, curve=(lowest, *audit.curve[1:]))
    (note,) = describe_raised(raised)
    assert note.startswith(
        "images are grouped at a similarity of 0.95, because one group would have 75% of them at 0.9;"
    )
    assert "--group-threshold 0.9" in note
