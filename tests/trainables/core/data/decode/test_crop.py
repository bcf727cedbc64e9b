import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images import png, write_pairs
from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from trainables.core.config import TrainConfig
from trainables.core.data.decode.crop import box_of
from trainables.core.data.prepare import prepare
from trainables.core.errors import DataError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving import roi_finder
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import load_ensemble, save_ensemble
from trainables.core.serving.ensemble_files import ensemble_digest, ensemble_folder
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.serving.roi_finder import open_segmentation, region_finder
from trainables.core.training.fit import fit


def test_a_box_covers_the_region_and_a_margin():
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[20:60, 100:180] = 1
    assert box_of(mask) == (96, 18, 184, 62)
    mask[0:40, 190:200] = 2  # any class; the box ends with the image
    assert box_of(mask) == (95, 0, 200, 63)


def test_specks_do_not_stretch_a_box_but_every_large_piece_counts():
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[20:80, 30:70] = mask[20:80, 120:160] = 1  # two lungs
    both = box_of(mask)
    assert both == (24, 17, 166, 83)
    mask[0, 0] = mask[99, 199] = mask[2:4, 190:198] = 1
    assert box_of(mask) == both
    mask[90:98, 10:20] = 1
    assert box_of(mask) == (2, 16, 168, 100)


def test_a_box_of_the_whole_image_is_none():
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask[3:97, 4:98] = 1
    assert box_of(mask) is None
    mask[:20] = 0
    assert box_of(mask) is not None


@pytest.mark.parametrize("pixels", [0, 1, 199])
def test_a_tiny_region_has_no_box(pixels):
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask.flat[:pixels] = 1
    assert box_of(mask) is None
    mask.flat[:200] = 1
    assert box_of(mask) is not None


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Class folders of images of bright discs in noise."""
    root, pairs = tmp_path_factory.mktemp("classes"), write_pairs(tmp_path_factory.mktemp("discs"), 40, 48, seed=5)
    for index, image in enumerate(sorted((pairs / "images").iterdir())):
        place = root / ("odd" if index % 2 else "even")
        place.mkdir(exist_ok=True)
        shutil.copy(image, place / f"{index:03d}.png")
    return root


def classifier_of(data, folder):
    """Train a classifier for one epoch and save it as an ensemble in ``folder``."""
    config = TrainConfig.from_dict(
        {
            "backbone": "scratch_cnn", "weights": "random", "image_size": 32, "head": "linear", "optimizer": "adamw",
            "lr": 1e-3, "batch_size": 8, "epochs": 1, "device": "cpu",
        }
    )  # fmt: skip
    (epoch,) = fit(config, data)
    checkpoint = Checkpoint(epoch.state, config, data.class_names, data.pixel_format, {})
    roi = data.regions.model if data.regions else None
    save_ensemble(folder, [[checkpoint]], Combination.of(np.ones(1)), roi=roi)
    return checkpoint


def test_training_and_a_registered_model_crop_alike(trained, classes, tmp_path):  # noqa: F811
    roi = trained[2]
    whole = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s")
    progress = []
    finder = region_finder(str(roi), progress.append)
    data = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s", roi=finder)
    assert progress == [0.0]  # before each batch
    assert all(np.array_equal(data.splits[name], whole.splits[name]) for name in whole.splits)
    assert data.fingerprint == whole.fingerprint and data.images_key(32) != whole.images_key(32)
    assert np.array_equal(data.uncropped().images(32), whole.images(32))
    assert any("images cropped to the region that a segmentation found" in note for note in data.notes)
    assert data.regions.digest == ensemble_digest(roi)

    files = sorted(classes.rglob("*.png"))
    masks = open_segmentation(roi).masks([file.read_bytes() for file in files])
    for index, (file, mask) in enumerate(zip(files, masks, strict=True)):
        expected = Image.open(file).crop(box_of(mask) or (0, 0, 48, 48)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(data.images(32)[index, :, :, 0], np.asarray(expected))

    checkpoint = classifier_of(data, tmp_path / "e")
    served = load_ensemble(ensemble_folder(tmp_path / "e"))
    model = trained_classifier(checkpoint, torch.device("cpu"))
    trained_on = predict_probabilities(model, data.images(32), np.arange(40))
    np.testing.assert_allclose(served.probabilities([file.read_bytes() for file in files]), trained_on, atol=1e-6)
    as_arrays = served.probabilities([np.asarray(Image.open(file)) for file in files])
    np.testing.assert_allclose(as_arrays, trained_on, atol=1e-6)


def test_12_bit_images_are_cropped_and_predicted_like_8_bit_ones(trained, classes, tmp_path):  # noqa: F811
    deep, roi = tmp_path / "deep", region_finder(str(trained[2]))
    for file in classes.rglob("*.png"):
        pixels = np.asarray(Image.open(file)) * (4095 / 255)
        (deep / file.parent.name).mkdir(parents=True, exist_ok=True)
        (deep / file.parent.name / file.name).write_bytes(png(pixels.round().astype(np.uint16)))
    data, shallow = (prepare(str(root), sizes=[32], seed=0, store=tmp_path / "s", roi=roi) for root in (deep, classes))
    assert (data.pixel_format.white, shallow.pixel_format.white) == (4095, 255)
    assert shallow.regions.boxes.any() and np.array_equal(data.regions.boxes, shallow.regions.boxes)
    model = trained_classifier(classifier_of(data, tmp_path / "e"), torch.device("cpu"))
    served = load_ensemble(tmp_path / "e").probabilities([file.read_bytes() for file in sorted(deep.rglob("*.png"))])
    np.testing.assert_allclose(served, predict_probabilities(model, data.images(32), np.arange(40)), atol=1e-6)


def test_regions_are_found_again_if_images_are_decoded_otherwise(trained, classes, tmp_path, monkeypatch):  # noqa: F811
    progress = []
    finder = region_finder(str(trained[2]), progress.append)
    for version in (1, 1, 2):
        monkeypatch.setattr(roi_finder, "DECODER_VERSION", version)
        prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s", roi=finder)
    assert progress == [0.0, 0.0]


def test_images_without_a_region_are_not_cropped_and_are_counted(trained, classes, tmp_path):  # noqa: F811
    for index in range(3):
        dark = np.tile(np.linspace(index, 20, 48), (48, 1)).astype(np.uint8)
        (classes / "odd" / f"dark-{index}.png").write_bytes(png(dark))
    data = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s", roi=region_finder(str(trained[2])))
    blank = dataclasses.replace(data.regions, boxes=np.zeros_like(data.regions.boxes))
    assert blank.box(0) is None and blank.count_uncropped(np.arange(40)) == 40
    used = np.concatenate(list(data.splits.values()))
    whole = data.regions.count_uncropped(used)
    assert whole == sum(data.regions.box(int(index)) is None for index in used)
    note = f"images cropped to the region that a segmentation found: {len(used) - whole} of {len(used)}"
    assert any(text.startswith(note) for text in data.notes)


@pytest.mark.slow
def test_with_a_gpu_another_process_finds_the_regions(trained, classes, tmp_path, monkeypatch):  # noqa: F811
    """So that this one, which may be the driver of a search, holds no memory of the GPU."""
    expected = prepare(str(classes), sizes=[], seed=0, store=tmp_path / "s", roi=region_finder(str(trained[2])))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(roi_finder, "open_segmentation", lambda *_: pytest.fail("opened in this process"))
    data = prepare(str(classes), sizes=[], seed=0, store=tmp_path / "t", roi=region_finder(str(trained[2])))
    assert np.array_equal(data.regions.boxes, expected.regions.boxes)


def test_a_classifier_cannot_find_regions(classes, tmp_path):
    data = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s")
    classifier_of(data, tmp_path / "e")
    with pytest.raises(DataError, match="--roi must be a segmentation"):
        open_segmentation(tmp_path / "e")
