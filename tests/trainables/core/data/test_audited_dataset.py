"""Groups where some images are of a known patient, or in a file of several, and others are not."""

import dataclasses
import json

import numpy as np
import pytest

from tests.dicom import write_dicom
from tests.images import png
from tests.nifti import noise, write_nifti
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.data.splits.groups import Grouping

SUBJECTS = 5
PHANTOMS = make_phantoms(subjects=60)
IMAGES = int((PHANTOMS.subjects < SUBJECTS).sum())
BEFORE = Grouping(older=True)  # as searches that older versions began


@pytest.fixture
def root(tmp_path):
    """Several similar images of each subject, whom nothing names, in class folders."""
    for index, (image, label) in enumerate(zip(PHANTOMS.images[:IMAGES], PHANTOMS.labels, strict=False)):
        file = tmp_path / "data" / f"class{label}" / f"{index:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    return tmp_path / "data"


def groups_of(root, grouping=None):
    """Return the audited data, and the group of each image by its name."""
    data = inspect(str(root), grouping=grouping, store=root.parent / "store")
    return data, dict(zip(open_source(str(root)).names, data.groups.tolist(), strict=True))


def are_subjects(group_of):
    """Return True if the groups of the PNGs are the subjects."""
    pairs = {
        (group, int(PHANTOMS.subjects[int(name[-7:-4])])) for name, group in group_of.items() if name.endswith("png")
    }
    return len(pairs) == len({group for group, _ in pairs}) == SUBJECTS


def add_film(root):
    write_dicom(root / "class0" / "film.dcm", noise(shape=(2, 64, 64)).astype(np.uint16), PatientID="ANON")


def add_volume(root):
    write_nifti(root / "class0" / "volume.nii.gz", noise(shape=(12, 14, 2)))


def add_patients(root):
    """Write two images that are as similar as those of one patient, but are of two."""
    scan = noise(shape=(64, 64)).astype(np.uint16)
    for number, patient in enumerate(("P1", "P2")):
        write_dicom(root / "class0" / f"{patient}.dcm", scan + number * (scan > 500), PatientID=patient)


@pytest.mark.parametrize("add", [add_film, add_volume])
def test_a_file_of_several_images_does_not_stop_the_search_for_similar_ones(root, add):
    add(root)
    data, group_of = groups_of(root)
    assert are_subjects(group_of) and data.audit.named == "groups" and data.patients is None
    of_file = [group for name, group in group_of.items() if not name.endswith("png")]
    assert len(of_file) > 1 and len({*of_file}) == 1 and data.audit.groups == SUBJECTS + 1
    assert "no patient is known: images of one file, and similar images, are grouped" in data.notes
    before, group_before = groups_of(root, BEFORE)
    assert before.audit.named == "subjects" and len({*group_before.values()}) == IMAGES + 1


def test_similar_images_without_a_patient_are_grouped_and_known_patients_are_not(root):
    add_patients(root)
    data, group_of = groups_of(root)
    assert are_subjects(group_of) and data.audit.groups == SUBJECTS + 2 and data.audit.named == "subjects"
    counted = f"{IMAGES} images have no known patient"
    assert f"{counted}: similar images without one are grouped" in data.notes
    before, group_before = groups_of(root, BEFORE)
    assert len({*group_before.values()}) == IMAGES + 2
    assert f"{counted}: each such file is a group of its own" in before.notes


def test_an_older_version_left_what_a_spaces_pattern_does_not_name_apart(root):
    for file in list(root.glob("*/*.png")):
        file.rename(file.with_name(f"unknown_{file.name}"))
    first = next(root.glob("*/*.png"))
    first.rename(first.with_name(f"p7_{first.name[-7:]}"))
    usual = r"^([a-z0-9]+)_"
    now, before = (inspect(str(root), grouping=Grouping(usual_pattern=usual, older=older)) for older in (False, True))
    assert len(set(now.groups)) < len(set(before.groups)) == IMAGES
    assert f"{IMAGES - 1} images have no known patient: each such file is a group of its own" in before.notes


def test_files_of_several_images_are_patients_if_there_are_no_others(tmp_path):
    for number in range(4):
        write_nifti(tmp_path / "data" / f"class{number % 2}" / f"{number}.nii.gz", noise(number))
    source = open_source(str(tmp_path / "data"))
    assert source.groups_given and not len(source.without_patient)


def test_a_statement_of_an_older_version_groups_as_before():
    saved = json.loads(json.dumps(dataclasses.asdict(Grouping(pattern="x"))))
    assert Grouping.from_dict(saved) == Grouping(pattern="x")
    del saved["older"]
    assert Grouping.from_dict(saved) == Grouping(pattern="x", older=True)
