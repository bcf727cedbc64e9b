import gzip
import io
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from nibabel.testing import data_path
from PIL import Image

from tests.nifti import RAS, SECRETS, noise, write_nifti
from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.data.decode.nifti import Slicing, is_nifti, slice_numbers, volume_slices
from trainables.core.errors import DataError

SLICING = Slicing(count=5)
# Files that come with nibabel and are no volumes of three dimensions with different voxels.
REASONS = {
    "example4d.nii.gz": "must have 3 dimensions, but this one has 128 x 96 x 24 x 2",
    "example_nifti2.nii.gz": "must have 3 dimensions, but this one has 32 x 20 x 12 x 2",
    "functional.nii": "must have 3 dimensions, but this one has 17 x 21 x 3 x 20",
    "row_major.dconn.nii": "must have 3 dimensions",
}
FILES = sorted(file for file in Path(data_path).iterdir() if file.name.endswith((".nii", ".nii.gz")))


def expected(image, axis: str, count: int) -> dict[int, np.ndarray]:
    """Return the slices by the formula, from nibabel's own values and names of axes."""
    values, codes = image.get_fdata(), nibabel.aff2axcodes(image.affine)
    for place, code in enumerate(codes):
        if code in "LPI":
            values = np.flip(values, place)
    order = [next(place for place, code in enumerate(codes) if code in pair) for pair in ("LR", "PA", "IS")]
    values = values.transpose(order)
    low, high = np.percentile(values[np.isfinite(values)], (0.5, 99.5))
    values = np.where(np.isfinite(values), values, low)
    number = {"sagittal": 0, "coronal": 1, "axial": 2}[axis]
    start = max(0, (values.shape[number] - count) // 2)
    planes = {place: values.take(place, number) for place in range(start, min(start + count, values.shape[number]))}
    return {place: np.clip((plane[::-1, ::-1].T - low) / (high - low), 0, 1) * 255 for place, plane in planes.items()}


def pixels(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def assert_decoded(data: bytes, image, slicing: Slicing) -> None:
    found, right = volume_slices(data, slicing), expected(image, slicing.axis, slicing.count)
    assert list(found) == list(right) == list(slice_numbers(data[:4096], slicing))
    for number, encoded in found.items():
        assert np.abs(pixels(encoded) - right[number]).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_every_file_of_nibabel_is_decoded_like_nibabel_or_refused_in_one_line(file):
    data = file.read_bytes()
    assert is_nifti(data)
    if file.name in REASONS:
        with pytest.raises(DataError, match=REASONS[file.name]) as refusal:
            volume_slices(data, SLICING)
        assert "\n" not in str(refusal.value)
        return
    for axis in ("axial", "coronal", "sagittal"):
        assert_decoded(data, nibabel.load(file), Slicing(axis, 4))


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", ">u4", "<i8", "<f4", ">f8"])
@pytest.mark.parametrize(("slope", "offset"), [(None, None), (0.25, -100.0), (-2.0, 7.0)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_types_byte_orders_and_scales_are_read_as_by_nibabel(dtype, slope, offset, kind):
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    image = kind((noise() % 100).astype(dtype), RAS, header)
    image.header.set_slope_inter(slope, offset)
    data = image.to_bytes()
    assert_decoded(data, kind.from_bytes(data), Slicing("coronal", 6))
    assert_decoded(gzip.compress(data), kind.from_bytes(data), SLICING)


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_the_order_of_voxels_in_the_file_does_not_matter(tmp_path, axes, signs):
    volume = noise()
    volume[-1, -1, :] = 20_000  # the patient's right front, which axial slices show at the top left
    stored = apply_orientation(volume, orientation := np.array(list(zip(axes, signs, strict=True))))
    turned = write_nifti(tmp_path / "a.nii", stored, RAS @ inv_ornt_aff(orientation, volume.shape)).read_bytes()
    slices = volume_slices(turned, SLICING)
    assert slices == volume_slices(write_nifti(tmp_path / "b.nii", volume).read_bytes(), SLICING)
    assert all(pixels(encoded)[0, 0] == 255 for encoded in slices.values())


def test_slices_are_those_around_the_middle_or_all():
    data = nibabel.Nifti1Image(noise(shape=(4, 5, 33)), RAS).to_bytes()
    assert list(slice_numbers(data, Slicing(count=3))) == [15, 16, 17]
    assert list(slice_numbers(data, Slicing("sagittal"))) == [0, 1, 2, 3]


def test_voxels_that_are_no_numbers_are_black():
    volume = noise().astype(np.float32)
    volume[:6] = np.nan
    volume[6, :7] = np.inf
    found = volume_slices(nibabel.Nifti1Image(volume, RAS).to_bytes(), SLICING)
    low, high = np.percentile(volume[np.isfinite(volume)], (0.5, 99.5))
    for number, encoded in found.items():
        plane = np.where(np.isfinite(volume[:, :, number]), volume[:, :, number], low)
        right = np.clip((plane[::-1, ::-1].T - low) / (high - low), 0, 1) * 255
        assert np.abs(pixels(encoded) - right).max() <= 0.5 + 1e-3


def test_a_mask_is_shown_from_its_lowest_to_its_highest_value():
    volume = np.zeros((20, 20, 5), np.uint8)
    volume[0, 0, 2] = 1
    shown = pixels(volume_slices(nibabel.Nifti1Image(volume, RAS).to_bytes(), Slicing(count=1))[2])
    assert (shown == 255).sum() == 1
    assert (shown == 0).sum() == 399


def test_one_slice_and_a_fourth_dimension_of_one_are_volumes():
    plane, volume = noise(shape=(6, 7)), noise(shape=(6, 7, 3, 1))
    assert len(volume_slices(nibabel.Nifti1Image(plane, RAS).to_bytes(), SLICING)) == 1
    assert len(volume_slices(nibabel.Nifti1Image(volume, RAS).to_bytes(), SLICING)) == 3


def changed(**fields) -> bytes:
    """Return a file whose header has other values."""
    image = nibabel.Nifti1Image(noise(), RAS)
    for name, value in SECRETS.items():
        image.header[name] = value
    header = image.header.copy()
    header["vox_offset"] = 352
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4) + image.get_fdata().astype("<i2").tobytes(order="F")


WHOLE = changed()
BAD = {
    "a 4-D volume": (nibabel.Nifti1Image(noise(shape=(4, 4, 4, 9)), RAS).to_bytes(), "has 4 x 4 x 4 x 9"),
    "constant": (nibabel.Nifti1Image(np.full((4, 4, 4), 7, np.int16), RAS).to_bytes(), "all voxels .* are equal"),
    "only NaN": (nibabel.Nifti1Image(np.full((4, 4, 4), np.nan), RAS).to_bytes(), "no voxel of the volume is a number"),
    "truncated": (WHOLE[:3000], "must have 5728 bytes, but has only 3000: copy it again"),
    "truncated gzip": (gzip.compress(WHOLE)[:3000], "not a readable NIfTI file: EOFError"),
    "a wrong checksum": (gzip.compress(WHOLE)[:-8] + bytes(8), "not a readable NIfTI file: BadGzipFile"),
    "a claim of 64 GB": (changed(dim=[3, 32000, 32000, 32, 1, 1, 1, 1]), "but this one has 32000 x 32000 x 32"),
    "a claim of 512 MB": (changed(dim=[3, 512, 512, 1024, 1, 1, 1, 1]), "but has only"),
    "an offset within the header": (changed(vox_offset=0), "must begin after the header"),
    "an offset of 1 TB": (
        changed(vox_offset=1e12),
        "must begin after the header, in the first 16777216 bytes, but begin at 9999",
    ),
    "no voxels": (changed(dim=[3, 0, 4, 4, 1, 1, 1, 1]), "must have 1 to"),
    "no dimensions": (changed(dim=[0, 1, 1, 1, 1, 1, 1, 1]), "but this one has 0"),
    "an unknown type": (changed(datatype=77), "not a readable NIfTI file"),
    "colours": (changed(datatype=128, bitpix=24), "must be real numbers"),
    "complex numbers": (changed(datatype=32, bitpix=64), "must be real numbers"),
    "an axis without direction": (
        changed(sform_code=1, srow_x=[0, 0, 0, 0]),
        "gives an axis no direction|not a readable NIfTI file",
    ),
    "only a header": (WHOLE[:100], "not a readable NIfTI file"),
    "nothing": (b"", "not a readable NIfTI file"),
    "another file": (b"\x89PNG" + bytes(1000), "not a readable NIfTI file"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_files_that_are_no_volumes_are_refused_in_one_line_without_the_header(data, reason):
    with pytest.raises(DataError, match=reason) as refusal:
        volume_slices(data, SLICING)
    text = str(refusal.value)
    assert "\n" not in text
    assert not any(secret.decode() in text for secret in SECRETS.values())


def test_nibabel_prints_nothing_about_an_unusual_header(capfd):
    volume_slices(changed(pixdim=[0, -1, 1, 1, 0, 0, 0, 0]), SLICING)
    assert capfd.readouterr().err == ""


def test_a_volume_in_the_place_of_an_image_is_refused():
    with pytest.raises(DataError, match="it is a NIfTI volume"):
        decode(gzip.compress(WHOLE), 8, PixelFormat(1, 255))


def test_the_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(DataError, match=r"reading NIfTI needs nibabel: .*pip install .* '\.\[medical\]'"):
        volume_slices(WHOLE, SLICING)
