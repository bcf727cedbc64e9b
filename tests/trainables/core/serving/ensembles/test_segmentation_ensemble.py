import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.images import png, write_pairs
from trainables.core.config import TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.unlabelled import NamedImage
from trainables.core.errors import DataError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.pixel_predictions import pixel_counts
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import _load_pyfunc, save_ensemble
from trainables.core.serving.predict_masks import count_pixels, trained_segmenter
from trainables.core.serving.score_images import score_images
from trainables.core.serving.training_features import TrainingFeatures, joined
from trainables.core.training.fit import fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two segmenters of one epoch each: data, checkpoints, folder of the ensemble, folder of the images."""
    root = tmp_path_factory.mktemp("pairs")
    data = prepare(str(write_pairs(root, 40)), sizes=[32], seed=0, store=tmp_path_factory.mktemp("store"))
    checkpoints = []
    for seed in (0, 1):
        config = TrainConfig.from_dict(
            {
                "task": "segmentation",
                "architecture": "linknet",
                "backbone": "mobilenetv3_small_050",
                "weights": "random",
                "image_size": 32,
                "optimizer": "adamw",
                "lr": 5e-3,
                "batch_size": 8,
                "epochs": 1,
                "device": "cpu",
                "seed": seed,
            }
        )
        (epoch,) = fit(config, data)
        checkpoints.append(Checkpoint(epoch.state, config, data.class_names, data.pixel_format, {}))
    folder = tmp_path_factory.mktemp("model") / "ensemble"
    save_ensemble(folder, [[checkpoint] for checkpoint in checkpoints], Combination.of(np.ones(2)))
    return data, checkpoints, folder, root


def test_masks_of_a_registered_model_equal_those_that_were_scored(trained):
    data, checkpoints, folder, root = trained
    ensemble = _load_pyfunc(str(folder))
    models = [trained_segmenter(checkpoint, torch.device("cpu")) for checkpoint in checkpoints]
    images, masks, test = data.images(32), data.masks(32), data.splits["test"]
    expected = count_pixels(models, images, masks, test, 1)[2]
    predicted = ensemble.masks([images[index] for index in test])
    counts = pixel_counts(
        torch.from_numpy(np.stack(predicted)).long(), torch.from_numpy(np.stack([masks[index] for index in test])), 1
    )
    assert np.abs(counts.flatten(1).numpy() - expected).max() <= 1  # a probability near 0.5 may be rounded otherwise
    from_bytes = ensemble.masks([(root / "images" / f"{index:03d}.png").read_bytes() for index in test])
    assert all(np.array_equal(one, other) for one, other in zip(predicted, from_bytes, strict=True))


def test_pyfunc_returns_a_png_of_each_images_own_size(trained):
    ensemble = _load_pyfunc(str(trained[2]))
    wide = png(np.random.default_rng(0).integers(0, 255, (20, 50)).astype(np.uint8))
    frame = ensemble.predict(pd.DataFrame({"image": [wide, base64.b64encode(wide).decode()]}))
    assert list(frame.columns) == ["mask"]
    first, second = (Image.open(io.BytesIO(base64.b64decode(text))) for text in frame["mask"])
    assert first.size == (50, 20) and first.mode == "L"
    assert set(np.unique(np.asarray(first))) <= {0, 1}
    assert np.array_equal(np.asarray(first), np.asarray(second))
    assert ensemble.predict([]).shape == (0, 1)


def test_an_unreadable_image_does_not_affect_the_others(trained):
    ensemble = _load_pyfunc(str(trained[2]))
    with pytest.raises(DataError, match="image 1: not a readable image"):
        ensemble.predict([png(np.zeros((8, 8), dtype=np.uint8)), b"nothing"])
    with pytest.raises(DataError, match="^image 19: not a readable image"):
        ensemble.predict([png(np.zeros((8, 8), dtype=np.uint8))] * 19 + [b"nothing"])
    good = NamedImage("good.png", png(np.zeros((8, 9), dtype=np.uint8)))
    scored = score_images(ensemble, [NamedImage("bad.png", b"nothing"), good, NamedImage("gone.png", error="gone")])
    assert [row.error != "" for row in scored] == [True, False, True]
    assert scored[1].mask.shape == (8, 9) and scored[1].probabilities is None


def test_images_with_other_features_than_the_training_images_are_named(trained, tmp_path):
    """The features are means of the encoder's last maps."""
    data, checkpoints = trained[:2]
    model, seen = trained_segmenter(checkpoints[0], torch.device("cpu")), []
    model.encoder.register_forward_hook(lambda _, __, maps: seen.append(maps[-1]))
    with torch.inference_mode():
        model(torch.from_numpy(data.images(32)[:]))
    expected = seen[0].flatten(2).mean(dim=2).numpy()
    fit_, held_out = data.splits["fit"], data.splits["select"]
    known = TrainingFeatures.of([expected[fit_]], [expected[held_out]], data.groups[held_out])
    save_ensemble(tmp_path / "e", [checkpoints[:1]], Combination.of(np.ones(1)), training_features=known)
    ensemble, images = _load_pyfunc(str(tmp_path / "e")), list(data.images(32)[:4])
    np.testing.assert_allclose(ensemble.features(images), joined([expected[:4]]), atol=1e-5)
    frame = ensemble.predict([*images, np.full((32, 32), 9, np.uint8)])
    assert list(frame.columns) == ["mask", "unlike_training", "unlike_score"]
    np.testing.assert_allclose(frame["unlike_score"][:4], known.scores([expected[:4]]), rtol=1e-3)
    assert (frame["unlike_score"] > 1).tolist() == [text != "" for text in frame["unlike_training"]]


def test_images_unlike_the_training_images_are_named_in_a_column(trained, tmp_path):
    data, checkpoints = trained[:2]
    save_ensemble(tmp_path / "e", [[replace(checkpoints[0], kind=data.kind)]], Combination.of(np.ones(1)))
    usual = np.asarray(data.images(32)[data.splits["fit"][0], :, :, 0])
    frame = _load_pyfunc(str(tmp_path / "e")).predict([usual, np.full((32, 32), 9, np.uint8)])
    assert list(frame.columns) == ["mask", "unlike_training"]
    assert frame["unlike_training"].tolist() == ["", "nearly blank"]
