import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from tests.dicom import write_dicom
from tests.images import png
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode.dicom import dicom_image, extract_frame
from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.data.readers import image_entries
from trainables.core.data.readers.dicom_tags import read_tags
from trainables.core.data.readers.image_entries import list_images
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.readers.unlabelled import find_parts, read_part
from trainables.core.errors import DataError, MissingPackageError

ACQUISITION = {"Manufacturer": "Maker", "ManufacturerModelName": "M1", "PixelSpacing": ["0.2", "0.2"]}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 4096, shape, dtype=np.uint16)


@pytest.fixture
def folder(tmp_path):
    """Two files and three frames of two patients in class folders, with names of any kind, and files to ignore."""
    write_dicom(tmp_path / "ill" / "IM0001", noise(16, 16), PatientID="P2", **ACQUISITION)
    write_dicom(tmp_path / "ill" / "1.2.840.113619.2.55", noise(16, 16, seed=1), PatientID="P1", WindowCenter="2048", WindowWidth="4096")  # fmt: skip  # noqa: E501
    write_dicom(
        tmp_path / "well" / "cine.dcm", noise(3, 16, 16, seed=2), PatientID="P2", Modality="US", PatientAge="045Y"
    )
    write_dicom(tmp_path / "DICOMDIR", noise(2, 2))
    (tmp_path / "ill" / "notes").write_text("no image")
    return tmp_path


def test_files_of_any_name_and_frames_are_images_grouped_by_patient(folder):
    images = list_images(folder)
    frames = [f"well/cine.dcm frame {number}" for number in (1, 2, 3)]
    assert images.names == ["ill/1.2.840.113619.2.55", "ill/IM0001", *frames]
    assert images.groups.tolist() == [0, 1, 1, 1, 1] and all(images.has_patient)
    assert images.metadata["modality"] == ["CR", "CR", "US", "US", "US"]
    assert images.metadata["manufacturer"] == ["", "Maker", "", "", ""]
    assert images.metadata["pixel spacing"][1] == "[0.2, 0.2]"
    assert images.metadata["age"] == ["", "", "045Y", "045Y", "045Y"]
    assert images.notes == (
        "3 DICOM files (2 CR, 1 US) with 5 images of 2 patients by PatientID",
        "2 DICOM files have no window: each image is scaled from its darkest to brightest value",
    )


def test_a_frame_has_its_own_pixels(folder):
    images, file = list_images(folder), folder / "well" / "cine.dcm"
    for frame in range(3):
        shown = np.asarray(dicom_image(extract_frame(file.read_bytes(), frame))) / 257
        decoded = decode(images.read(2 + frame), 16, PixelFormat(1, 65535))[..., 0]
        np.testing.assert_array_equal(decoded, shown.round())


def test_a_file_is_read_once_for_all_its_frames_until_it_changes(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(image_entries, "read_file", lambda file: reads.append(file) or file.read_bytes())
    file = write_dicom(tmp_path / "film.dcm", noise(5, 16, 16))
    expected = [extract_frame(file.read_bytes(), frame) for frame in range(5)]
    images = list_images(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(images.read, range(5))) == expected
    assert [images.read(frame) for frame in (4, 0, 2)] == [expected[frame] for frame in (4, 0, 2)]
    assert reads == [file]
    write_dicom(file, noise(5, 16, 16, seed=1), PatientID="other")
    assert images.read(0) == extract_frame(file.read_bytes(), 0) != expected[0]


def test_class_folders_and_tables_label_all_frames_of_a_file(folder):
    source = open_source(str(folder))
    assert source.labels.tolist() == [0, 0, 1, 1, 1] and source.groups.tolist() == [0, 1, 1, 1, 1]
    assert dict(source.unread) == {"without suffix": 1}
    (folder / "labels.csv").write_text("file,label\ncine,b\nIM0001.dcm,a\nIM0001,a\n1.2.840.113619.2.55,a\n")
    source = open_source(str(folder), table=LabelTable(("labels.csv",)))
    assert source.names[0] == "IM0001.dcm" and dict(source.unreadable) == {0: "no image has this name"}
    assert source.labels.tolist() == [-1, 0, 0, 1, 1, 1]
    assert source.groups.tolist() == [0, 1, 2, 2, 2, 2] and source.groups_given
    assert source.metadata["modality"][1:] == ["CR", "CR", "US", "US", "US"]
    assert "3 DICOM files (2 CR, 1 US) with 5 images of 2 patients by PatientID" in source.notes


def test_one_patient_id_for_all_files_is_no_group(tmp_path):
    for index in range(3):
        write_dicom(tmp_path / f"{index}.dcm", noise(16, 16, seed=index), PatientID="STUDY-7")
    images = list_images(tmp_path)
    assert images.groups.tolist() == [0, 1, 2] and not any(images.has_patient)
    assert "PatientID names fewer than two patients, so it is not used to group images" in images.notes


def test_files_without_patient_are_known(tmp_path):
    for index, patient in enumerate(["A", "", "B", "", "A"]):
        write_dicom(tmp_path / f"{index}.dcm", noise(16, 16, seed=index), PatientID=patient)
    (tmp_path / "5.png").write_bytes(png(np.zeros((8, 8), dtype=np.uint8)))
    images = list_images(tmp_path)
    assert images.groups.tolist() == [0, 1, 2, 3, 0, 4]
    assert images.has_patient == [True, False, True, False, True, False]
    assert images.notes[0] == "5 DICOM files (5 CR) with 5 images of 2 patients by PatientID"


def test_a_damaged_file_is_a_bad_image_with_the_reason(folder, tmp_path):
    write_dicom(folder / "ill" / "no_pixels.dcm", noise(16, 16)[:0])
    (folder / "ill" / "text.dcm").write_text("no DICOM")
    audit = inspect(str(folder), store=tmp_path / "store").audit
    assert audit is not None
    assert audit.broken.keys() == {"ill/no_pixels.dcm", "ill/text.dcm"}
    assert "must have 1 to" in audit.broken["ill/no_pixels.dcm"]


def test_frames_that_a_file_cannot_hold_are_one_bad_image(tmp_path):
    """Thousands of bad images took minutes, and hid all others in messages."""
    file = write_dicom(tmp_path / "ill" / "huge.dcm", noise(16, 16), NumberOfFrames=9000, Rows=8192, Columns=8192)
    write_dicom(tmp_path / "well" / "film.dcm", noise(2, 16, 16))
    images = list_images(tmp_path)
    assert images.names == ["ill/huge.dcm", "well/film.dcm frame 1", "well/film.dcm frame 2"]
    with pytest.raises(DataError, match=r"its DICOM pixels are incomplete: 512 of \d{13} bytes"):
        decode(images.read(0), 16, PixelFormat(1, 65535))
    assert [len(part.image_names) for part in find_parts([str(file)])] == [1]


def test_a_missing_decoder_of_frames_is_reported_at_once(folder, monkeypatch):
    file = write_dicom(folder / "well" / "film.dcm", noise(2, 16, 16), PatientID="P1")
    dataset = pydicom.dcmread(file)
    dataset.compress(RLELossless)
    dataset.save_as(file)
    monkeypatch.setattr(type(get_decoder(RLELossless)), "is_available", False)
    with pytest.raises(MissingPackageError, match=r"encoded as RLE Lossless need a decoder: .*pip install"):
        open_source(str(folder)).read_all()


def test_prediction_reads_the_same_files_frame_by_frame(folder):
    parts = find_parts([str(folder / "ill"), str(folder / "well" / "cine.dcm")])
    images = [image for part in parts for image in read_part(part)]
    names = [image.name.removeprefix(str(folder)) for image in images]
    frames = [f"/well/cine.dcm frame {number}" for number in (1, 2, 3)]
    assert names == ["/ill/1.2.840.113619.2.55", "/ill/IM0001", *frames]
    entries = list_images(folder)
    assert [image.data for image in images] == [entries.read(index) for index in range(5)]


def test_unknown_patients_of_dicom_files_are_no_group(tmp_path):
    for index, patient in enumerate(("P1", "UNKNOWN", "unknown", "P1", "P2", "")):
        write_dicom(tmp_path / f"{index}.dcm", noise(16, 16, seed=index), PatientID=patient)
    images = list_images(tmp_path)
    assert images.groups.tolist() == [0, 1, 2, 0, 3, 4]
    assert images.has_patient == [True, False, False, True, True, False]


def test_spellings_of_one_patient_in_dicom_files_are_counted_without_their_names(tmp_path):
    for index, patient in enumerate(("P1", "p-01", "007", "7", "P2", "1-2", "12")):
        write_dicom(tmp_path / f"{index}.dcm", noise(16, 16, seed=index), PatientID=patient)
    (note,) = (note for note in list_images(tmp_path).notes if "several PatientIDs" in note)
    assert note.startswith("2 patients may have several PatientIDs, which differ only in case, hyphens or zeros")
    assert "p-01" not in note and "007" not in note


@pytest.mark.parametrize(("vr", "patient"), [("IS", "Doe-4711"), ("DA", "Doe-4711"), ("XX", "")])
def test_a_patient_id_of_a_wrong_type_is_neither_quoted_nor_an_error(tmp_path, vr, patient, caplog):
    file = write_dicom(tmp_path / "a.dcm", noise(16, 16), PatientID="Doe-4711")
    file.write_bytes(file.read_bytes().replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00" + vr.encode()))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        tags = read_tags(file)
    assert (tags.frames, tags.patient) == (1, patient)
    assert not warned and not caplog.text


def test_threads_do_not_quote_tags(tmp_path):
    """A thread that leaves ``catch_warnings`` ends the blocks of the others."""
    file = write_dicom(tmp_path / "a.dcm", noise(16, 16), PatientID="Doe-4711")
    file.write_bytes(file.read_bytes().replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00IS"))
    code = (
        "import logging, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from trainables.core.data.readers.dicom_tags import read_tags\n"
        "logging.basicConfig()\n"
        "sys.setswitchinterval(1e-6)\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    print({tags.patient for tags in pool.map(read_tags, [Path(sys.argv[1])] * 400)})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{'Doe-4711'}\n", "")
