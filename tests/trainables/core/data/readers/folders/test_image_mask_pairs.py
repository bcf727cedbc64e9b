"""Pairing of images with masks by their names."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.dicom import write_dicom
from tests.images import png, write_pets
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.open_source import open_source
from trainables.core.errors import DataError


def write(root, folder, name, value):
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / name).write_bytes(png(np.full((4, 4), value, np.uint8)))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("Scan 1.png", "scan 1.PNG"),
        (unicodedata.normalize("NFC", "L\u00e4sion.png"), unicodedata.normalize("NFD", "L\u00e4sion.png")),
        ("a .png", "a.png"),
    ],
)
def test_names_that_are_equal_to_people_are_a_pair(tmp_path, image, mask):
    write(tmp_path, "images", image, 7)
    write(tmp_path, "masks", mask, 1)
    source = open_source(str(tmp_path))
    assert source.masks is not None
    assert source.masks.read_bytes(0) == png(np.full((4, 4), 1, np.uint8))


def test_two_images_whose_names_are_equal_to_people_are_refused(tmp_path):
    for name in ("a.png", "A.png"):
        write(tmp_path, "images", name, 7)
    write(tmp_path, "masks", "a.png", 1)
    with pytest.raises(DataError, match=r"file names must differ in more than .* but .*A.png and .*a.png do not"):
        open_source(str(tmp_path))


def test_masks_with_a_suffix_in_their_names_are_refused_with_the_right_name(tmp_path):
    write(tmp_path, "images", "1.png", 7)
    write(tmp_path, "masks", "1_mask.png", 1)
    with pytest.raises(DataError, match=r"1 of 1 masks .* such as masks/1_mask.png: rename it to 1.png"):
        open_source(str(tmp_path))


def test_pairs_keep_the_order_of_their_names(tmp_path):
    for name in ("b", "a", "B1", "a-1"):
        write(tmp_path, "images", f"{name}.png", 7)
        write(tmp_path, "masks", f"{name}.png", 1)
    assert list(open_source(str(tmp_path)).files) == ["B1.png", "a.png", "a-1.png", "b.png"]


def test_folders_of_splits_give_the_published_splits(tmp_path):
    for name in ("Train/a.png", "Train/b.png", "test/c.png"):
        write(tmp_path / "images", Path(name).parent, Path(name).name, 7)
        write(tmp_path / "masks", Path(name).parent, Path(name).name, 1)
    source = open_source(str(tmp_path))
    assert source.published.tolist() == ["train", "train", "test"]
    assert source.notes == ("the folders or lists of the images give the published splits",)
    for folder, value in (("images", 7), ("masks", 1)):
        write(tmp_path / folder, Path("external"), "d.png", value)
    with pytest.raises(DataError, match=r"must give a split .* but that of external/d.png does not: move it and its"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("name", ["images/a.txt", "masks/b.mha", "c.png", "more/d.png", "images/dicom"])
def test_files_that_are_no_images_with_masks_are_counted(tmp_path, name):
    write(tmp_path, "images", "a.png", 7)
    write(tmp_path, "masks", "a.png", 1)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    source = open_source(str(tmp_path))
    assert dict(source.unread) == {(tmp_path / name).suffix or "without suffix": 1} and len(source) == 1


def test_pets_that_no_list_names_are_counted(tmp_path):
    pets = write_pets(tmp_path, 8) / "oxford-iiit-pet"
    (pets / "images" / "more.jpg").write_bytes((pets / "images" / "Breed_0.jpg").read_bytes())
    assert dict(open_source(str(tmp_path)).unread) == {".txt": 2, ".jpg": 1}


def write_patients(root, patients):
    for patient in patients:
        for place in range(2):
            pixels = np.random.default_rng([ord(patient), place]).integers(0, 4096, (16, 16), dtype=np.uint16)
            write_dicom(root / "images" / f"{patient}_{place}.dcm", pixels, PatientID=patient)
            mask = np.zeros((16, 16), np.uint8)
            mask[:8] = 1
            (root / "masks").mkdir(exist_ok=True)
            (root / "masks" / f"{patient}_{place}.png").write_bytes(png(mask))


def test_dicom_images_of_a_patient_are_a_group(tmp_path):
    write_patients(tmp_path, "AB")
    source = open_source(str(tmp_path))
    assert source.groups.tolist() == [0, 0, 1, 1] and source.groups_given
    assert source.patients == ["A", "A", "B", "B"] and source.metadata["modality"] == ["CR"] * 4
    assert source.notes[0] == "4 DICOM files (4 CR) with 4 images of 2 patients by PatientID"


def test_no_patient_of_a_segmentation_is_in_two_splits(tmp_path):
    write_patients(tmp_path / "data", "ABCDEFGH")
    data = prepare(str(tmp_path / "data"), sizes=[16], seed=0, store=tmp_path / "store")
    assert data.patients is not None
    splits = [set(data.patients[split].tolist()) for split in data.splits.values()]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 8


def test_one_patient_id_for_all_images_with_masks_is_no_group(tmp_path):
    write_patients(tmp_path, "A")
    source = open_source(str(tmp_path))
    assert source.groups.tolist() == [0, 1] and not source.groups_given
