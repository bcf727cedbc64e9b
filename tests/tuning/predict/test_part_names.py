from trainables.core.data.readers.tables.named_images import NO_IMAGE
from trainables.core.data.readers.unlabelled import Part
from tuning.predict.part_names import PartNames


def found(parts, *names):
    images = PartNames(parts)
    return [images.find(name).name if not images.find(name).reason else images.find(name).reason for name in names]


def test_a_name_that_ends_like_that_of_a_slice_is_first_the_name_of_a_file():
    parts = [Part(f"/scans/{name}.png", f"{name}.png") for name in ("knee", "knee slice 1", "knee frame 2")]
    names = ("knee slice 1", "knee frame 2.png", "knee", "knee slice 3", "")
    assert found(parts, *names) == [
        "scans/knee slice 1.png",
        "scans/knee frame 2.png",
        "scans/knee.png",
        NO_IMAGE,
        "a row has no image name",
    ]


def test_frames_and_slices_have_the_key_of_their_file():
    film, volume = Part("/film.dcm", "film.dcm", images=3), Part("/head.nii.gz", "head.nii.gz", axis="axial")
    names = ("film.dcm frame 2", "film frame 3", "head.nii.gz slice 1", "head slice 1", "film")
    assert found([film, volume], *names) == ["film.dcm"] * 2 + ["head.nii.gz"] * 2 + ["film.dcm"]
