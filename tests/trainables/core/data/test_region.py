import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images import png, write_pairs
from tests.trainables.core.models.test_served_masks import trained  # noqa: F401
from trainables.core.checkpoint import Checkpoint
from trainables.core.config import TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.data.region import box_of
from trainables.core.errors import DataError
from trainables.core.fit import fit
from trainables.core.models.combination import Combination
from trainables.core.models.predict import predict_probabilities, trained_classifier
from trainables.core.models.regions import open_segmentation
from trainables.core.models.served import load_ensemble, save_ensemble
from trainables.core.models.stored import ensemble_digest, ensemble_folder


def test_a_box_holds_the_region_and_a_margin():
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[20:60, 100:180] = 1
    assert box_of(mask) == (96, 18, 184, 62)
    mask[0:40, 190:200] = 2  # any class; the box ends with the image
    assert box_of(mask) == (95, 0, 200, 63)


@pytest.mark.parametrize("pixels", [0, 1, 199])
def test_next_to_nothing_is_no_region(pixels):
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask.flat[:pixels] = 1
    assert box_of(mask) is None
    mask.flat[:200] = 1
    assert box_of(mask) is not None


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Class folders: discs in noise, and some black images in which there is nothing to see."""
    root, pairs = tmp_path_factory.mktemp("classes"), write_pairs(tmp_path_factory.mktemp("discs"), 40, 48, seed=5)
    for index, image in enumerate(sorted((pairs / "images").iterdir())):
        place = root / ("odd" if index % 2 else "even")
        place.mkdir(exist_ok=True)
        shutil.copy(image, place / f"{index:03d}.png")
    return root


def test_images_are_cut_once_and_served_ones_alike(trained, classes, tmp_path):  # noqa: F811
    roi = trained[2]
    whole = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s")
    told = []
    data = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s", roi=str(roi), regions_progress=told.append)
    assert told == [0.0]  # before each batch
    assert all(np.array_equal(data.splits[name], whole.splits[name]) for name in whole.splits)
    assert data.fingerprint == whole.fingerprint and data.images_key(32) != whole.images_key(32)
    assert np.array_equal(data.uncut().images(32), whole.images(32))
    assert any("images are cut to what a segmentation sees" in note for note in data.notes)
    assert data.regions.digest == ensemble_digest(roi)

    files = sorted(classes.rglob("*.png"))
    masks = open_segmentation(roi).masks([file.read_bytes() for file in files])
    for index, (file, mask) in enumerate(zip(files, masks, strict=True)):
        expected = Image.open(file).crop(box_of(mask) or (0, 0, 48, 48)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(data.images(32)[index, :, :, 0], np.asarray(expected))

    config = TrainConfig.from_dict(
        {
            "backbone": "scratch_cnn", "weights": "random", "image_size": 32, "head": "linear", "optimizer": "adamw",
            "lr": 1e-3, "batch_size": 8, "epochs": 1, "device": "cpu",
        }
    )  # fmt: skip
    (epoch,) = fit(config, data)
    checkpoint = Checkpoint(epoch.state, config, data.class_names, data.pixel_format, {})
    save_ensemble(tmp_path / "e", [[checkpoint]], Combination.of(np.ones(1)), roi=data.regions.model)
    served = load_ensemble(ensemble_folder(tmp_path / "e"))
    model = trained_classifier(checkpoint, torch.device("cpu"))
    trained_on = predict_probabilities(model, data.images(32), np.arange(40))
    np.testing.assert_allclose(served.probabilities([file.read_bytes() for file in files]), trained_on, atol=1e-6)
    as_arrays = served.probabilities([np.asarray(Image.open(file)) for file in files])
    np.testing.assert_allclose(as_arrays, trained_on, atol=1e-6)


def test_what_shows_no_region_is_taken_whole_and_counted(trained, classes, tmp_path):  # noqa: F811
    for index in range(3):
        (classes / "odd" / f"black-{index}.png").write_bytes(png(np.full((48, 48), index, dtype=np.uint8)))
    data = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s", roi=str(trained[2]))
    blank = dataclasses.replace(data.regions, boxes=np.zeros_like(data.regions.boxes))
    assert blank.box(0) is None and blank.whole(np.arange(40)) == 40
    used = np.concatenate(list(data.splits.values()))
    whole = data.regions.whole(used)
    assert whole == sum(data.regions.box(int(index)) is None for index in used)
    told = f"{len(used) - whole} of {len(used)} images are cut"
    assert any(told in note for note in data.notes)


def test_a_classifier_is_no_region(classes, tmp_path):
    data = prepare(str(classes), sizes=[32], seed=0, store=tmp_path / "s")
    config = TrainConfig.from_dict(
        {
            "backbone": "scratch_cnn", "weights": "random", "image_size": 32, "head": "linear", "optimizer": "adamw",
            "lr": 1e-3, "batch_size": 8, "epochs": 1, "device": "cpu",
        }
    )  # fmt: skip
    (epoch,) = fit(config, data)
    checkpoint = Checkpoint(epoch.state, config, data.class_names, data.pixel_format, {})
    save_ensemble(tmp_path / "e", [[checkpoint]], Combination.of(np.ones(1)))
    with pytest.raises(DataError, match="--roi must be a segmentation"):
        open_segmentation(tmp_path / "e")
