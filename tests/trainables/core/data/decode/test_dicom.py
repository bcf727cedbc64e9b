import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from tests.dicom import write_dicom
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode.dicom import (
    count_frames,
    dicom_image,
    extract_frame,
    has_window,
    is_dicom,
    read_header,
)
from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.data.decode.survey import survey
from trainables.core.errors import DataError

# Files that come with pydicom and are damaged, or have no grey or colour image of at most 16 bits, by the refusal.
REFUSED = {
    "cannot be decoded (JPEG Extended (Process 2 and 4))": "JPEG-lossy JPGExtended",  # no free decoder of 12 bits
    "cannot be decoded (JPEG 2000 Image Compression)": "JPEG2000-embedded-sequence-delimiter",
    "pixels are incomplete: 8130 of 8192 bytes": "MR_truncated",
    "not a readable DICOM file": "badVR ExplVR_BigEndNoMeta ExplVR_LitEndNoMeta no_meta rtstruct",
    "must have 1 to 16 bits, but these have 32": "SC_rgb_rle_32bit SC_rgb_rle_32bit_2frame",
    "is a segmentation, not an image": "liver_1frame liver_expb_1frame",
    "is a dose of radiotherapy, not an image": "rtdose rtdose_1frame rtdose_expb rtdose_expb_1frame rtdose_rle "
    "rtdose_rle_1frame",
    "pixels, but this one has 0 x 0": "meta_missing_tsyntax nested_priv_SQ",
    "has no pixels": "UN_sequence empty_charset_LEI no_meta_group_length priv_SQ reportsi rtplan rtplan_truncated "
    "reportsi_with_empty_number_tags test-SR waveform_ecg",
}
REASONS = {name: reason for reason, names in REFUSED.items() for name in names.split()}
with warnings.catch_warnings(action="ignore"):  # files that pydicom would download
    FILES = sorted({Path(file).stem: Path(file) for file in get_testdata_files("*.dcm")}.items())


def expected(dataset: Dataset) -> np.ndarray:
    """Return the first frame by the formulas of PS3.3 C.11.1.1.2 and C.11.2.1.2.1, 0 to 1, or RGB."""
    samples = pixel_array(dataset, index=0)
    if samples.ndim == 3:
        return samples / (2.0**dataset.BitsStored - 1)
    values = samples * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    if "WindowCenter" not in dataset:
        return (values - values.min()) / (values.max() - values.min())
    centre, width = (float(np.ravel(dataset[tag].value)[0]) for tag in ("WindowCenter", "WindowWidth"))
    shown = np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    return 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


@pytest.mark.parametrize(("name", "file"), FILES, ids=[name for name, _ in FILES])
@pytest.mark.filterwarnings("ignore")
def test_every_file_of_pydicom_is_decoded_or_refused_in_one_line(name, file):
    data = file.read_bytes()
    if name in REASONS:
        with pytest.raises(DataError) as refused:
            count_frames(read_header(data))
            dicom_image(extract_frame(data, 0))
        assert REASONS[name] in str(refused.value)
        return
    dataset = pydicom.dcmread(file)
    pixels = np.asarray(dicom_image(extract_frame(data, 0)))
    if count_frames(read_header(data)) == 1:
        np.testing.assert_array_equal(np.asarray(dicom_image(data)), pixels)
    assert is_dicom(data) and pixels.shape[:2] == (dataset.Rows, dataset.Columns)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        red = np.frombuffer(dataset.RedPaletteColorLookupTableData, np.uint16)
        np.testing.assert_array_equal(pixels[..., 0], red[pixel_array(dataset)] >> 8)
    elif pixels.ndim == 3:
        np.testing.assert_allclose(pixels / 255, expected(dataset), atol=1 / 255)
    else:
        np.testing.assert_allclose(pixels / 65535, expected(dataset), atol=1e-4)


def test_monochrome1_is_inverted_and_the_window_keeps_12_bits(tmp_path):
    pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    window = {"WindowCenter": ["2048", "100"], "WindowWidth": ["101", "50"]}  # the first one counts
    plain, inverted = (
        write_dicom(tmp_path / name, pixels, PhotometricInterpretation=name, **window).read_bytes()
        for name in ("MONOCHROME2", "MONOCHROME1")
    )
    shown = np.asarray(dicom_image(plain))
    assert len(np.unique(shown)) == 102  # an 8-bit copy of the file would have 7
    assert (shown.flat[0], shown.flat[-1]) == (0, 65535)
    np.testing.assert_array_equal(65535 - np.asarray(dicom_image(inverted)), shown)
    grey = decode(plain, 64, PixelFormat(channels=1, white=65535))[..., 0]
    np.testing.assert_array_equal(grey, (shown / 257).round())


def test_a_voi_lut_takes_precedence_over_a_window(tmp_path):
    lut = Dataset()
    lut.LUTDescriptor = [4, 0, 8]
    lut.add_new("LUTData", "US", [0, 200, 50, 255])
    pixels = np.array([[0, 1], [2, 3]], dtype=np.uint16)
    data = write_dicom(tmp_path / "a", pixels, VOILUTSequence=[lut], WindowCenter="1", WindowWidth="9").read_bytes()
    np.testing.assert_array_equal(np.asarray(dicom_image(data)), np.array([[0, 200], [50, 255]]) * 257)


def test_signed_hounsfield_units_without_window_span_the_grey_range(tmp_path):
    pixels = np.array([[-1000, 0], [500, 3000]], dtype=np.int16)
    data = write_dicom(tmp_path / "a", pixels, bits=16, RescaleSlope="2", RescaleIntercept="-10").read_bytes()
    np.testing.assert_allclose(np.asarray(dicom_image(data)) / 65535, (pixels + 1000) / 4000, atol=1e-5)


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_lut_of_8_bits_has_more_than_256_entries(tmp_path, sequence):
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 8]
    entries = np.arange(4096) // 16
    lut.add_new("LUTData", "US", entries.tolist())
    pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    data = write_dicom(tmp_path / "a", pixels, **{sequence: [lut]}).read_bytes()
    np.testing.assert_array_equal(np.asarray(dicom_image(data)).ravel(), entries * 257)


def test_a_voi_lut_may_begin_below_zero(tmp_path):
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4, 2**16 - 2, 8])  # -2, as read from a file without VRs
    lut.add_new("LUTData", "OW", np.array([0, 200, 50, 255], "<u2").tobytes())
    pixels = np.array([[0, 1], [2, 9]], dtype=np.uint16)
    tags = {"RescaleSlope": "1", "RescaleIntercept": "-2", "VOILUTSequence": [lut]}
    data = write_dicom(tmp_path / "a", pixels, **tags).read_bytes()
    np.testing.assert_array_equal(np.asarray(dicom_image(data)), np.array([[0, 200], [50, 255]]) * 257)


def test_padding_does_not_stretch_the_range_of_a_file_without_window(tmp_path):
    pixels = np.array([[-2000, 0], [50, 100]], dtype=np.int16)
    data = write_dicom(tmp_path / "a", pixels, bits=16, PixelPaddingValue=-2000).read_bytes()
    np.testing.assert_allclose(np.asarray(dicom_image(data)) / 65535, [[0, 0], [0.5, 1]], atol=1e-5)


def test_dark_files_stay_dark(tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    tags = {"WindowCenter": "2048", "WindowWidth": "4096"}
    data = write_dicom(tmp_path / "a", pixels, **tags).read_bytes()

    class Files(list):
        def read(self, index):
            return self[index]

    assert survey(Files([data]), threads=1).pixel_format == PixelFormat(channels=1, white=65535, dicom=True)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": 0}, "must have 1 to 10000 frames, but this one has 0"),
        ({"NumberOfFrames": 2}, "its DICOM pixels are incomplete: 128 of 256 bytes"),
        ({"WindowCenter": "100", "WindowWidth": "0"}, "width of a DICOM window must be at least 1, but is 0"),
        ({"WindowCenter": "100", "WindowWidth": "-5"}, "width of a DICOM window must be at least 1, but is -5"),
        ({"Rows": 65535, "Columns": 65535}, "must have 1 to 89478485 pixels, but this one has 65535 x 65535"),
        ({"HighBit": 15}, "HighBit of DICOM pixels must be BitsStored - 1, here 11, but is 15"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "its RescaleSlope is 0"),
        ({"PhotometricInterpretation": None}, "this DICOM file lacks PhotometricInterpretation"),
        ({"Modality": "SEG"}, "this DICOM file is a segmentation, not an image: move it out of the data set"),
        ({"Rows": 500}, "its DICOM pixels are incomplete: 128 of 8000 bytes"),
    ],
)
def test_bad_files_are_refused_without_quoting_tags(tmp_path, tags, message):
    person = {"PatientName": "Doe^Jane", "PatientID": "4711", "PatientBirthDate": "19500817"}
    data = write_dicom(tmp_path / "a", np.ones((8, 8), dtype=np.uint16), **person, **tags).read_bytes()
    with pytest.raises(DataError, match=message) as refused:
        dicom_image(data)
    assert not any(value in str(refused.value) for value in person.values())


def test_an_image_is_a_single_frame(tmp_path):
    data = write_dicom(tmp_path / "a", np.ones((2, 8, 8), dtype=np.uint16)).read_bytes()
    with pytest.raises(DataError, match="it has 2 frames: store each one as a file of its own"):
        dicom_image(data)


@pytest.mark.parametrize(("tag", "value"), [("WindowCenter", "2048"), ("WindowWidth", "4096")])
def test_windows_of_letters_are_refused_as_such(tmp_path, tag, value):
    pixels = np.ones((8, 8), dtype=np.uint16)
    data = write_dicom(tmp_path / "a", pixels, WindowCenter="2048", WindowWidth="4096").read_bytes()
    with pytest.raises(DataError, match="width of a DICOM window must be numbers, but these are not: repair"):
        dicom_image(data.replace(value.encode(), b"Doe^"))
    dicom_image(data, window=(2048, 4096))


@pytest.mark.parametrize("frames", [None, 1, 2])
def test_frames_that_the_file_does_not_announce_are_not_dropped(tmp_path, frames):
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a", np.ones((3, 8, 8), dtype=np.uint16)))
    dataset.NumberOfFrames = frames
    dataset.save_as(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    with pytest.raises(DataError, match="holds the pixels of more frames than its NumberOfFrames says"):
        extract_frame(data, 0)
    dataset.PixelData += b"\0" * 100  # padding is allowed
    dataset.NumberOfFrames = 3
    dataset.save_as(tmp_path / "a")
    assert dicom_image(extract_frame((tmp_path / "a").read_bytes(), 2)).size == (8, 8)


def test_a_given_window_replaces_those_of_the_file(tmp_path):
    pixels = np.array([[-1000, 0], [40, 400]], dtype=np.int16)
    lut = Dataset()
    lut.LUTDescriptor = [2, 0, 8]
    lut.add_new("LUTData", "US", [0, 255])
    for tags in ({}, {"WindowCenter": "0", "WindowWidth": "9"}, {"VOILUTSequence": [lut]}):
        data = write_dicom(tmp_path / "a", pixels, bits=16, **tags).read_bytes()
        shown = np.asarray(dicom_image(data, window=(40, 401))) / 65535
        np.testing.assert_allclose(shown, [[0, 160.5 / 400], [200.5 / 400, 1]], atol=1e-5)


def test_an_enhanced_file_has_rescale_and_window_of_each_frame(tmp_path):
    pixels = np.array([[[0, 100], [200, 300]]] * 2, dtype=np.uint16)

    def groups(centre):
        window, transformation, group = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = centre, "101"
        transformation.RescaleSlope, transformation.RescaleIntercept = "2", "-100"
        group.FrameVOILUTSequence, group.PixelValueTransformationSequence = [window], [transformation]
        return group

    person = {"PatientName": "Doe^Jane", "PatientID": "4711"}
    frames = [groups("0.5"), groups("300.5")]
    data = write_dicom(tmp_path / "a", pixels, PerFrameFunctionalGroupsSequence=frames, **person).read_bytes()
    assert has_window(read_header(data))
    first, second = (extract_frame(data, frame) for frame in range(2))
    np.testing.assert_allclose(np.asarray(dicom_image(first)) / 65535, [[0, 1], [1, 1]])  # -100, 100, 300, 500
    np.testing.assert_allclose(np.asarray(dicom_image(second)) / 65535, [[0, 0], [0.5, 1]], atol=1e-5)
    assert b"Doe" not in first and b"4711" not in first
    assert extract_frame(data, 0) == first


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    data = write_dicom(tmp_path / "a", np.ones((8, 8), dtype=np.uint16)).read_bytes()
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(DataError, match=r"reading DICOM needs pydicom: .*pip install .* '\.\[medical\]'"):
        dicom_image(data)


def test_the_window_of_a_search_is_part_of_its_pixel_format(tmp_path):
    for index in range(8):
        pixels = np.full((16, 16), 900 + 20 * index, dtype=np.uint16)
        write_dicom(
            tmp_path / "data" / "ab"[index % 2] / f"{index}.dcm", pixels, WindowCenter="2048", WindowWidth="4096"
        )
    narrow = inspect(str(tmp_path / "data"), window=(1000, 201), store=tmp_path / "store")
    plain = inspect(str(tmp_path / "data"), store=tmp_path / "store")
    assert narrow.pixel_format.window == (1000, 201) and plain.pixel_format.window is None
    assert narrow.images_key(16) != plain.images_key(16)
    saved = json.loads(json.dumps(dataclasses.asdict(narrow.pixel_format)))
    assert PixelFormat.from_dict(saved) == narrow.pixel_format
    data = (tmp_path / "data" / "a" / "4.dcm").read_bytes()
    assert decode(data, 16, narrow.pixel_format).flat[0] == round(255 * (980 - 899.5) / 200)


def palette_file(file, entries, syntax, frames):
    """Write a file whose palette has 256 grey entries of 16 bits."""
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(frames, axis=0)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PixelRepresentation = "PALETTE COLOR", 1, 0
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 16, 16, frames
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        stored = entries.astype("<u2" if syntax.is_little_endian else ">u2")
        setattr(dataset, f"{colour}PaletteColorLookupTableData", stored.tobytes())
    dataset.add_new("PixelData", "OB", pixels.tobytes())
    dataset.save_as(file, enforce_file_format=True)
    return file.read_bytes()


@pytest.mark.parametrize("scale", [1, 256], ids=["8 bits in entries of 16", "16 bits"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=["little", "big"])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_palette_of_any_byte_order(tmp_path, scale, syntax, frames):
    levels = np.arange(256)[::-1]
    data = palette_file(tmp_path / "a", levels * scale, syntax, frames)
    image = dicom_image(data if frames == 1 else extract_frame(data, 1))
    np.testing.assert_array_equal(np.asarray(image), levels.reshape(16, 16, 1).repeat(3, axis=2))
