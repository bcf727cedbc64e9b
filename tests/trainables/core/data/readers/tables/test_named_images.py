from pathlib import Path

import pytest

from trainables.core.data.readers.tables.named_images import NO_IMAGE, FoundImage, NamedImages


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "study" / "site_a"
    return NamedImages(root, [Path(name) for name in ("001.png", "IM.7.jpg", "x/scan.png", "y/scan.png", "Élan.png")])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("001.png", "001.png"),
        ("001", "001.png"),
        ("IM.7", "IM.7.jpg"),
        ("./x/scan", "x/scan.png"),
        ("x\\scan.png", "x/scan.png"),
        ("site_a/001.png", "001.png"),
        ("study/site_a/x/scan", "x/scan.png"),
        ("E\u0301lan", "Élan.png"),
    ],
)
def test_a_name_is_the_end_of_a_path_with_or_without_suffix(images, value, name):
    assert images.find(value) == FoundImage(name)


def test_an_absolute_path_must_be_whole(images, tmp_path):
    assert images.find(str(tmp_path / "study" / "site_a" / "001.png")).name == "001.png"
    assert images.find("/elsewhere/site_a/001.png").reason == "no image has this name"


@pytest.mark.parametrize(("value", "name"), [("1", "001.png"), ("1.PNG", "001.png"), ("im.7.JPG", "IM.7.jpg")])
def test_case_and_lost_zeros_are_ignored_only_if_nothing_else_matches(images, value, name):
    assert images.find(value) == FoundImage(name, exact=False)


def test_a_neighbouring_folder_is_not_mistaken_for_this_one(images):
    assert images.find("site_b/001.png").reason == "no image has this name"
    assert images.find("01.jpg").reason == "no image has this name"


def test_an_ambiguous_or_missing_name_has_a_reason(images):
    assert images.find("scan").reason == "it could be x/scan.png or y/scan.png: give the path below the folder"
    assert images.find("").reason == "a row has no image name"


@pytest.mark.parametrize("value", ["1.png", "./1.png", "1.PNG"])
def test_a_whole_path_below_the_folder_is_not_ambiguous(tmp_path, value):
    images = NamedImages(tmp_path, [Path("1.png"), Path("x/1.png"), Path("y/x/1.png")])
    assert (images.find(value).name, images.find(value).reason) == ("1.png", "")
    assert images.find("x/1.png") == FoundImage("x/1.png")
    assert images.find("1").reason == "it could be 1.png or x/1.png: give the path below the folder"


def test_the_last_number_of_a_uid_is_no_suffix(tmp_path):
    images = NamedImages(tmp_path, [Path("1.2.840.7"), Path("1.2.840.8.dcm")])
    assert images.find("1.2.840").reason == NO_IMAGE
    assert images.find("1.2.840.8").name == "1.2.840.8.dcm"
