import sys
from collections import OrderedDict

import numpy as np
import pytest

from tests.images import png
from tests.nifti import SECRETS, noise, write_nifti
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.decode.nifti import Slicing, volume_slices
from trainables.core.data.readers import volumes
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.readers.unlabelled import find_parts, read_part, with_slicing
from trainables.core.errors import DataError, MissingPackageError

SLICING = Slicing("coronal", 3)
NAMES = [f"{file} slice {number}" for file in ("ill/a.nii.gz", "ill/b.nii", "well/c.nii.gz") for number in (6, 7, 8)]


@pytest.fixture
def folder(tmp_path):
    """Three volumes in two class folders."""
    for seed, name in enumerate(("ill/a.nii.gz", "ill/b.nii", "well/c.nii.gz")):
        write_nifti(tmp_path / "data" / name, noise(seed))
    return tmp_path / "data"


def test_a_volume_gives_the_images_of_one_group(folder):
    source = open_source(str(folder), slicing=SLICING)
    assert list(source.names) == NAMES
    assert source.labels.tolist() == [0] * 6 + [1] * 3
    assert source.groups.tolist() == [0] * 3 + [1] * 3 + [2] * 3 and source.groups_given
    assert source.read(4) == volume_slices((folder / "ill/b.nii").read_bytes(), SLICING)[6]
    assert source.notes == (
        "3 NIfTI volumes with 9 coronal slices: at most 3 around the middle of each volume, scaled from its 0.5th to "
        "its 99.5th percentile (--axis and --slices take others)",
    )
    assert not source.unread


@pytest.mark.parametrize(("held", "read_again"), [(0, "abcab"), (2, "abca")])
def test_volumes_in_memory_are_bounded_by_their_bytes(folder, monkeypatch, held, read_again):
    """The last volume stays, whatever its size."""
    reads = []
    monkeypatch.setattr(volumes, "read_file", lambda file: reads.append(file) or file.read_bytes())
    source = open_source(str(folder), slicing=SLICING)
    monkeypatch.setattr(volumes, "_MOST_BYTES", held * 3 * len(source.read(0)))
    monkeypatch.setattr(volumes, "_recent", OrderedDict())
    reads.clear()
    for index in (0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 3 if held == 0 else 6):
        source.read(index)
    assert "".join(file.name[0] for file in reads) == read_again


def test_volumes_of_one_subject_are_one_group_if_all_names_say_so(tmp_path):
    for seed, name in enumerate(("ill/sub-01_T1w.nii", "ill/sub-01_FLAIR.nii", "well/anat/sub-02_ses-1_T1w.nii")):
        write_nifti(tmp_path / name, noise(seed))
    source = open_source(str(tmp_path), slicing=SLICING)
    assert source.groups.tolist() == [0] * 6 + [1] * 3
    assert source.notes[1] == "3 NIfTI volumes are of 2 subjects by their names, such as sub-01"
    write_nifti(tmp_path / "well" / "template.nii", noise(4))
    assert len(set(open_source(str(tmp_path), slicing=SLICING).groups.tolist())) == 4


def test_a_table_names_volumes_and_their_patients(folder):
    write_nifti(folder / "well" / "d.nii", noise(3))
    (folder / "labels.csv").write_text("file,label,patient\na,x,P1\nb.nii,y,P1\nwell/c.nii.gz,y,P2\nd.nii,x,P3\n")
    source = open_source(str(folder), table=LabelTable(("labels.csv",)), slicing=SLICING)
    assert list(source.names)[:9] == NAMES
    assert source.labels.tolist() == [0] * 3 + [1] * 6 + [0] * 3
    assert source.groups.tolist() == [0] * 6 + [1] * 3 + [2] * 3


def test_the_slices_are_part_of_the_data_set_and_no_header_text_is(folder, tmp_path):
    data = inspect(str(folder), slicing=SLICING, store=tmp_path / "store")
    assert data.pixel_format == PixelFormat(1, 255, slicing=SLICING)
    assert list(data.open_source().names) == NAMES  # as on a worker
    assert PixelFormat.from_dict(vars(data.pixel_format) | {"slicing": vars(SLICING)}) == data.pixel_format
    written = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert written and not any(secret in written for secret in SECRETS.values())


def test_a_damaged_volume_is_one_bad_image_with_its_reason(folder, tmp_path):
    (folder / "ill/a.nii.gz").write_bytes(b"damaged")
    truncated = folder / "ill/b.nii"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    data = inspect(str(folder), slicing=SLICING, store=tmp_path / "store")
    assert data.audit is not None
    assert list(data.audit.broken.items())[:2] == [
        ("ill/a.nii.gz slice 1", "not a readable NIfTI file: WrapStructError"),
        ("ill/b.nii slice 6", "the NIfTI file must have 5728 bytes, but has only 5628: copy it again"),
    ]


def test_prediction_takes_the_slices_of_the_model(folder):
    parts = find_parts([str(folder)])
    assert sum(part.images for part in parts) == 3 * 16  # all axial slices
    images = [image for part in with_slicing(parts, SLICING) for image in read_part(part)]
    assert [image.name for image in images] == [f"{folder}/{name}" for name in NAMES]
    source = open_source(str(folder), slicing=SLICING)
    assert [image.data for image in images] == [source.read(index) for index in range(9)]


def test_without_the_package_the_extra_is_named_also_beside_readable_images(folder, tmp_path, monkeypatch):
    (folder / "ill" / "a.png").write_bytes(png(noise()[0].astype(np.uint8)))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "nibabel", None)
        with pytest.raises(MissingPackageError, match=r"needs nibabel: .*pip install .* '\.\[medical\]'"):
            inspect(str(folder), store=tmp_path / "store")
    assert not inspect(str(folder), store=tmp_path / "store").audit.broken


def test_a_mask_beside_its_volume_is_refused(folder):
    write_nifti(folder / "ill" / "b_mask.nii.gz", (noise() > 500).astype(np.uint8))
    with pytest.raises(DataError, match="has both 'b' and its mask 'b_mask'"):
        open_source(str(folder))
