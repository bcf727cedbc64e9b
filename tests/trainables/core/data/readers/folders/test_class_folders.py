"""Image files in class folders, and the note about other files."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images import png, write_classes
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.folders.mask_signs import describe_masks
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.unlabelled import find_parts
from trainables.core.errors import DataError

GREY = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jfif", "JPEG"), (".jpe", "JPEG"), (".apng", "PNG"), (".pnm", "PPM"), (".pbm", "PPM")]
)
def test_rarer_suffixes_are_read_by_training_and_by_prediction(tmp_path, suffix, kind):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(GREY).save(tmp_path / name / f"1{suffix}", format=kind)
    assert len(open_source(str(tmp_path))) == len(find_parts([str(tmp_path)])) == 2


def test_thumbnails_and_hidden_files_are_ignored(tmp_path):
    write_classes(tmp_path, {"a": 3, "b": 3})
    for folder in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "a/@eaDir", "b/__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "thumbnail.png").write_bytes(png(GREY))
    (tmp_path / "a" / "._000.png").write_bytes(b"resource fork")
    source = open_source(str(tmp_path))
    assert (source.class_names, len(source), dict(source.unread)) == (("a", "b"), 6, {})
    assert len(find_parts([str(tmp_path)])) == 6


def test_files_that_are_not_read_are_counted_by_suffix(tmp_path):
    write_classes(tmp_path / "data", {"a": 12, "b": 8})
    for name in ("a/list.txt", "a/more.TXT", "b/README", "labels.csv"):
        (tmp_path / "data" / name).touch()
    note = "4 files were not read: 2 .txt, 1 .csv, 1 without suffix"
    assert note in prepare(str(tmp_path / "data"), sizes=[8], seed=0, store=tmp_path / "store").notes
    assert inspect(str(tmp_path / "data"), store=tmp_path / "store").notes == (note,)


@pytest.mark.parametrize(
    ("folders", "place"),
    [
        (("train/a", "train/b", "test/a"), "extra"),
        (("train/a", "test/b"), "train"),
        (("a", "b"), "."),
        (("a", "b"), ""),
    ],
)
def test_images_outside_the_class_folders_are_named_and_not_used(tmp_path, folders, place):
    root = tmp_path / "data"
    for folder in folders:
        write_classes(root / folder, {"x": 12})
    (root / place).mkdir(exist_ok=True)
    (root / place / "stray.png").write_bytes(png(GREY))
    source = open_source(str(root))
    note = f"1 image in no class folder, and so without a label ({(Path(place) / 'stray.png').as_posix()})"
    assert source.notes[-1] == note and source.describe().endswith(", 1 without a label")
    with pytest.raises(DataError, match="1 are not .*stray.png: has no label"):
        prepare(str(root), sizes=[8], seed=0, store=tmp_path / "store")
    data = prepare(str(root), sizes=[8], seed=0, store=tmp_path / "store", skip_bad_images=True)
    assert note in data.notes and "1 unusable image was left out" in data.notes


def test_a_class_without_images_is_refused_with_the_suffixes_of_its_files(tmp_path):
    write_classes(tmp_path, {"a": 3})
    (tmp_path / "b").mkdir()
    for index in range(3):
        (tmp_path / "b" / f"{index}.mha").touch()
    with pytest.raises(DataError, match="class 'b' in .* has no images: 3 files were not read: 3 .mha"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("NORMAL", "Normal"),
        ("caf\u00e9", "cafe\u0301"),
        ("healthy", "healthy "),
        ("very mild", "Very-mild"),
        ("very\u2013mild", "very-mild"),
        ("COVID-19", "Covid19"),
        ("Crohn's", "Crohn\u2019s"),
        ("Cancer", "\u0421ancer"),
    ],
)
def test_class_names_that_are_equal_to_people_are_refused(tmp_path, one, other):
    write_classes(tmp_path / "train", {one: 2, "ill": 2})
    write_classes(tmp_path / "test", {other: 2, "ill": 2})
    with pytest.raises(DataError, match="differ in more than case, .* has .* and .*: rename one of them"):
        open_source(str(tmp_path))


def write_images(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(GREY))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("Images/1.png", "Masks/1.png"), "looks like images with masks, not like classes"),
        (
            ("train/images/1.png", "train/masks/1.png", "test/images/2.png", "test/masks/2.png"),
            "looks like images with",
        ),
        (("imagesTr/1.png", "labelsTr/1.png"), "looks like images with masks"),
        (("ill/images/1.png", "ill/masks/1.png", "well/images/2.png", "well/masks/2.png"), "has a subfolder masks"),
        (("ill/images/1.png", "ill/masks/1.png", "well/2.png"), "ill in {root} has a subfolder masks"),
        (("ill/1.png", "well/2.png", "masks/1.png"), "has a folder masks among its classes"),
        (("ill/1.png", "ill/1_mask.png", "well/2.png"), "has both '1' and its mask '1_mask'"),
        (("ill/1.png", "ill/1_gt.png", "well/2.png"), "has both '1' and its mask '1_gt'"),
        (("ill/1.png", "ill/mask1.png", "well/2.png"), "has both '1' and its mask 'mask1'"),
        (("ill/image7.png", "ill/Mask_7.png", "well/2.png"), "its mask 'Mask_7'"),
        (("ill/img-a.png", "ill/seg-a.png", "well/2.png"), "its mask 'seg-a'"),
        (("ill/p1.png", "ill/gt_p1.png", "well/2.png"), "has both 'p1' and its mask 'gt_p1'"),
        (
            ("data/ill/1.png", "data/well/2.png", "docs/3.png"),
            "data in {root} has only folders (ill, well), so it looks like the data set itself",
        ),
        (("ill/1.png", "well/2.png", "docs/3.png"), "docs in {root} has images, but its name does not"),
        (("ill/1.png", "well/2.png", "New folder/3.png"), "New folder in {root} has images, but its name does not"),
        (("ill/1.png", "well/2.png", "mlruns/0/a/3.png"), "mlruns in {root} has images, but its name does not"),
        (("ill/1.png", "well/2.png", "images/3.png"), "images in {root} has images, but its name does not"),
        (("ill/1.png", "well/2.png", "ill_resized/3.png"), "ill_resized in {root} looks like a copy of the class ill"),
        (("ill/1.png", "well/2.png", "well-aug/3.png"), "well-aug in {root} looks like a copy of the class well"),
        (("ill/1.png", "well/2.png", "unlabeled/3.png"), "unlabeled in {root} has images, but its name does not"),
        (("ill/1.png", "well/2.png", "Unknown/3.png"), "Unknown in {root} has images, but its name does not"),
        (("ill/1.png", "well/2.png", "Thumbnails/3.png"), "Thumbnails in {root} has images, but its name does not"),
        (
            ("train/ill/1.png", "train/unsup/2.png", "test/well/3.png"),
            "unsup in {root} has images, but its name does not",
        ),
        (("ill/1.png", "well/2.png", "ill_heatmaps/3.png"), "has a folder ill_heatmaps among its classes"),
        (("ill/1.png", "ill/1_gradcam.png", "well/2.png"), "has both '1' and its mask '1_gradcam'"),
        (("ill/1.png", "ill/1_cam.png", "well/2.png"), "has both '1' and its mask '1_cam'"),
        (("ill/1.png", "ill/1.mask.png", "well/2.png"), "has both '1' and its mask '1.mask'"),
        (("ill/1.png", "ill/1_bbox.png", "well/2.png"), "has both '1' and its mask '1_bbox'"),
        (
            ("train/ill/1.png", "train/well/2.png", "test/ill/3.png", "test/well/4.png", "external/ill/5.png"),
            "external in {root} has folders of classes (ill) like test, train, but its name stands for no split",
        ),
        (
            ("development/ill/1.png", "development/well/2.png", "test/ill/3.png", "test/well/4.png"),
            "development in {root} has folders of classes (ill, well) like test, but its name stands for no split",
        ),
        (("JPEGImages/1.png", "SegmentationClass/1.png"), "looks like images with masks"),
        (("ill/1.png", "ill/1_roi.png", "well/2.png"), "has both '1' and its mask '1_roi'"),
        (("siteA/ill/1.png", "siteA/well/2.png", "siteB/ill/3.png"), "(siteA, siteB) look like parts of the data set"),
        (("fold_0/a/1.png", "fold_0/b/2.png", "fold_1/b/3.png", "fold_1/c/4.png"), "(fold_0, fold_1) look like parts"),
        (
            ("ill/1.png", "well/2.png", "augmented/ill/1.png", "augmented/well/2.png"),
            "augmented in {root} has subfolders named like the other classes (ill, well)",
        ),
        (
            ("p1/ill/1.png", "p1/well/2.png", "p2/ill/3.png", "p3/well/4.png"),
            "(p1, p2, p3) share their subfolders (ill, well), which look like the classes",
        ),
        (("ill/a (1).png", "ill/a (1)_mask_1.png", "well/2.png"), "its mask"),
        (("ill/p1_image.png", "ill/p1_mask.png", "well/2.png"), "has both 'p1_image' and its mask 'p1_mask'"),
        (("ill/p1_flair.png", "ill/p1_seg.png", "well/2.png"), "has both 'p1_flair' and its mask 'p1_seg'"),
        (("ill/scan7.png", "ill/scan7Mask.png", "well/2.png"), "has both 'scan7' and its mask 'scan7Mask'"),
        (("ill/1.png", "illMasks/1.png", "well/2.png"), "has a folder illMasks among its classes"),
        (("ill/img/1.png", "ill/gt/1.png", "well/2.png"), "ill in {root} has a subfolder gt: move the masks out"),
        (("trainset/1.png", "testset/2.png"), "named after images or splits (testset, trainset), not after classes"),
        (("TrainData/1.png", "valdata/2.png"), "named after images or splits (TrainData, valdata), not after classes"),
        (("patient_01/1.png", "patient_02/2.png", "Patient 3/3.png"), "look like patients or studies, not like"),
        (("train/sub-01/1.png", "train/sub-02/2.png", "test/sub-03/3.png"), "look like patients or studies"),
        (("2019-01-31/1.png", "2019-02-01/2.png", "20190301/3.png"), "look like patients or studies, not like"),
        (("P001/1.png", "P002/2.png", "P003/3.png"), "look like patients or studies, not like"),
        (("Trainingsdaten/1.png", "Testdaten/2.png"), "named after images or splits (Testdaten, Trainingsdaten)"),
        (
            ("well/9.png", *(f"ill/{index}{suffix}" for index in range(6) for suffix in (".png", ".bmp"))),
            "all 6 .bmp files in {root}/ill are named like .png files (0.bmp, 0.png), as if they were their masks",
        ),
        (("1.2.840.1/1.png", "1.2.840.2/2.png", "1.2.840.3/3.png"), "look like patients or studies, not like"),
        (
            ("first/ill/1.png", "first/well/2.png", "second/ill/3.png", "second/well/4.png"),
            "look like several data sets",
        ),
        (("set/train/ill/1.png", "set/test/well/2.png"), "set as the data set"),
        (("set/train/ill/1.png", "set/test/ill/2.png", "more/1.png"), "it looks like a data set of its own"),
        (("ill/train/1.png", "ill/test/2.png", "well/train/3.png"), "put the splits above the classes, as in test/ill"),
        (("set/ill/1.png", "set/well/2.png"), "has 1, set, and the folders ill, well lie below it: pass"),
        (("a/b/ill/1.png", "a/b/well/2.png"), "a/b as the data set"),
        (("train/set/ill/1.png", "train/set/well/2.png"), "move the folders in"),
        (("1.png", "2.png"), "has 0: 2 images lie directly in it, without class folders"),
        (("train/1.png", "test/2.png"), "has 0: 2 images lie directly in test, train, without class folders"),
        (("only/1.png",), "has 1, only: if it is a class, add the others"),
        (("train_images/1.png", "test_images/2.png"), "(test_images, train_images), not after classes"),
        (("images/1.png",), "named after images or splits (images), not after classes"),
        (("ISIC_2019_Training_Input/1.png", "ISIC_2019_Test_Input/2.png"), "not after classes"),
        (("StageOneTrainImages/1.png", "StageOneTestImages/2.png", "extra/3.png"), "not after classes"),
    ],
)
def test_layouts_that_are_no_classes_are_refused(tmp_path, names, reason):
    write_images(tmp_path, *names)
    with pytest.raises(DataError, match=re.escape(reason.replace("{root}", str(tmp_path)))):
        open_source(str(tmp_path))


@pytest.mark.parametrize("folders", [("train_images", "test_images"), ("images",), ("train", "test"), ()])
def test_tables_beside_images_are_named_with_the_option_that_reads_them(tmp_path, folders):
    write_images(tmp_path, *(f"{folder}/1.png" for folder in folders or (".",)))
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("image,label\n1.png,ill\n")
    message = "if their classes are in test.csv, train.csv, pass that table with --labels FILE"
    with pytest.raises(DataError, match=re.escape(message)):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        ("ill/patient1/1.png", "ill/patient2/2.png", "well/patient3/3.png", "well/patient4/4.png"),
        ("masked/1.png", "images/2.png"),
        ("test_1/1.png", "test_2/2.png"),
        ("positive_test/1.png", "negative_train/2.png"),
        ("ill/test/1.png", "well/other/2.png"),
        ("ill/left/1.png", "ill/2.png", "well/left/3.png", "well/4.png"),
        ("ill/p1/1.png", "ill/p2/2.png", "well/p1/3.png", "unclear/p2/4.png", "unclear/p3/5.png"),
        ("mask/1.png", "no_mask/1.png"),
        ("mask/mask1.png", "mask/person1.png", "no_mask/1.png"),
        ("ill/segment.png", "ill/ment.png", "well/gtx.png", "well/x.png"),
        ("docs/1.png", "figures/2.png"),
        ("fracture/1.png", "fracture_old/2.png"),
        ("CT/1.png", "CT_enhanced/2.png"),
        ("site 1/1.png", "site 2/2.png"),
        ("data/1.png", "code/2.png"),
        ("-1/1.png", "1/2.png"),
        ("0/1.png", "1/2.png", "10/3.png"),
        ("T1/1.png", "T2/2.png", "T3/3.png"),
        ("n01440764/1.png", "n02102040/2.png", "n02979186/3.png"),
        ("train/ill/1.png", "train/well/2.png", *(f"test/ill/{index}.bmp" for index in range(6))),
        ("ill/1.png", "ill/1.bmp", "ill/2.png", "ill/3.bmp", "well/2.png"),
        ("case_1/1.png", "case_2/2.png"),
        ("study/1.png", "case/2.png", "control/3.png"),
        ("grade 1/1.png", "grade 2/2.png", "grade 3/3.png"),
        ("ill/p1_ct.png", "ill/p1_roi_left.png", "well/x.png"),
        ("band/1.png", "seg/2.png", "gt/3.png"),
    ],
)
def test_classes_with_subfolders_are_read(tmp_path, names):
    write_images(tmp_path, *names)
    assert len(open_source(str(tmp_path))) == len(names)


@pytest.mark.parametrize(
    ("files", "example"),
    [
        (("a/1.png", "a/1_mask.png"), "'1_mask' beside '1'"),
        (("new/images/1.png", "new/masks/1.png"), "in folder masks"),
        (("a/1.png", "b/1_mask.png", "mask/2.png"), None),
    ],
)
def test_masks_among_images_to_predict_are_noted(files, example):
    note = f"masks seem to be among the images, and are scored like them ({example})"
    assert describe_masks(list(map(Path, files))) == ([note] if example else [])


@pytest.mark.parametrize(("word", "noted"), [("_m", True), (" copy", True), ("_2", False)])
def test_images_named_like_another_one_with_a_word_added_are_noted(tmp_path, word, noted):
    names = [f"{folder}/{index}{added}.png" for folder in ("ill", "well") for index in range(4) for added in ("", word)]
    write_images(tmp_path, *names)
    note = f"8 images are named like another one with {word!r} added: if they are its mask or its copy, move them out"
    assert any(one.startswith(note) for one in open_source(str(tmp_path)).notes) == noted


@pytest.mark.parametrize("names", ["grade 1-2|grade 12", "her2+|her2-", "T-1|1", "ill a|ill b", "\u0431|\u0432"])
def test_names_that_people_tell_apart_are_two_classes(tmp_path, names):
    write_images(tmp_path, *(f"{name}/1.png" for name in names.split("|")))
    assert sorted(open_source(str(tmp_path)).class_names) == sorted(names.split("|"))


@pytest.mark.parametrize(("train", "test"), [("Training", "Testing"), ("seg_train", "seg_test"), ("TRAIN", "Test")])
def test_folders_of_splits_have_many_names(tmp_path, train, test):
    write_images(tmp_path, *(f"{split}/{name}/1.png" for split in (train, test) for name in ("a", "b")))
    source = open_source(str(tmp_path))
    assert sorted(source.published.tolist()) == ["test", "test", "train", "train"]
    assert source.class_names == ("a", "b")


def test_links_to_folders_are_not_followed_but_counted(tmp_path):
    write_classes(tmp_path / "data", {"a": 12, "b": 8})
    write_images(tmp_path, "elsewhere/1.png")
    (tmp_path / "data" / "a" / "more").symlink_to(tmp_path / "elsewhere")
    assert dict(open_source(str(tmp_path / "data")).unread) == {"links to folders": 1}
    (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="class 'c' in .* has no images: links to folders are not followed"):
        open_source(str(tmp_path / "data"))


def test_folders_of_patients_within_the_classes_are_noted_and_can_be_groups(tmp_path):
    names = ("ill/p1/1.png", "ill/p1/2.png", "ill/p2/3.png", "well/p3/4.png", "well/p3/5.png")
    write_images(tmp_path, *names)
    source = open_source(str(tmp_path))
    assert not source.groups_given
    assert source.notes == ("3 folders lie within the classes, such as ill/p1: --group-pattern can make them groups",)
    assert open_source(str(tmp_path), group_pattern=r"/(p\d+)/").groups.tolist() == [0, 0, 1, 2, 2]
    assert open_source(str(tmp_path), group_pattern=r"[135]").groups.tolist() == [0, 1, 2, 3, 4]  # file names first
    with pytest.raises(DataError, match="must match file names, but 'q' matches none"):
        open_source(str(tmp_path), group_pattern="q")
