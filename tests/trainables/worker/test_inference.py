"""Inference on members in the calling process. tests/tuning/ray_backend/test_cluster.py runs it on a cluster."""

import numpy as np
import pytest
import torch

from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from trainables.core.config import TrainConfig
from trainables.core.inspect.explanation import ExplanationRequest
from trainables.core.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.serving.predict_masks import MaskRequest, count_pixels, predict_pixels, trained_segmenter
from trainables.core.training.fit import fit
from trainables.worker.inference import examine_here, infer_here

CPU = torch.device("cpu")


def save_members(folder, checkpoints):
    """Save checkpoints as trials do; return their locations."""
    locations = [folder / "session-001" / f"trial-{index}" / "checkpoint_0" for index in range(len(checkpoints))]
    for location, checkpoint in zip(locations, checkpoints, strict=True):
        save_checkpoint(location / "checkpoint", checkpoint)
    return list(map(str, locations))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def classifiers(small_data):
    base = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-3}
    base |= {"image_size": 32, "batch_size": 16, "epochs": 1, "device": "cpu"}
    configs = [TrainConfig.from_dict(base | {"seed": seed}) for seed in (0, 1)]
    return [
        Checkpoint(next(fit(config, small_data)).state, config, small_data.class_names, small_data.pixel_format, {})
        for config in configs
    ]


def test_each_classifier_predicts_the_split(classifiers, small_data, tmp_path):
    predictions = infer_here(small_data, save_members(tmp_path, classifiers), "select", views="flips")
    for prediction, checkpoint in zip(predictions, classifiers, strict=True):
        images, indices = small_data.images(32), small_data.splits["select"]
        expected = predict_probabilities(trained_classifier(checkpoint, CPU), images, indices, views="flips")
        np.testing.assert_array_equal(prediction, expected)


def test_pixels_of_segmenters_and_their_means_are_counted(trained, tmp_path):  # noqa: F811
    data, checkpoints, *_ = trained
    counts = infer_here(data, save_members(tmp_path, checkpoints), "test")
    models = [trained_segmenter(checkpoint, CPU) for checkpoint in checkpoints]
    expected = count_pixels(models, data.images(32), data.masks(32), data.splits["test"], 1)
    np.testing.assert_array_equal(counts, expected)
    assert counts.shape == (3, len(data.splits["test"]), 3)


def test_members_are_examined_with_and_without_a_question(classifiers, small_data, tmp_path):
    request = ExplanationRequest(np.arange(3), np.array([4]), np.array([1]))
    (costs, explanation), (_, nothing) = examine_here(small_data, save_members(tmp_path, classifiers), [request, None])
    assert costs.parameters == sum(tensor.numel() for tensor in trained_classifier(classifiers[0], CPU).parameters())
    expected = request.run(trained_classifier(classifiers[0], CPU), small_data.images(32))
    np.testing.assert_array_equal(explanation.features, expected.features)
    np.testing.assert_array_equal(explanation.maps, expected.maps)
    assert nothing is None


def test_a_segmenter_answers_with_pixel_probabilities(trained, tmp_path):  # noqa: F811
    data, checkpoints, *_ = trained
    ((_, explanation),) = examine_here(data, save_members(tmp_path, checkpoints[:1]), [MaskRequest(np.array([1, 0]))])
    expected = predict_pixels(trained_segmenter(checkpoints[0], CPU), data.images(32)[[1, 0]])
    np.testing.assert_array_equal(explanation.probabilities, expected.numpy())
