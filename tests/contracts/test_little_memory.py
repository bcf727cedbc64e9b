"""All passes outside of training: with room for two images in the GPU's memory, they give what they give with plenty.

A layer raises the error of a full GPU, so this runs on the CPU.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.images import write_pairs
from trainables.core.config import TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.inspect.features import head_features
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.frozen_cache import Cost, FrozenCache
from trainables.core.models.networks.build import build_network
from trainables.core.models.soup import with_batch_norm_of
from trainables.core.serving.predict_classes import extract_features, predict_probabilities
from trainables.core.serving.predict_masks import MaskRequest, count_pixels

CPU, ROOM = torch.device("cpu"), 2


@pytest.fixture
def passes(monkeypatch):
    """Let convolutions of more than ``ROOM`` images fail once ``passes.little`` is set, and note all sizes."""
    convolve = nn.Conv2d.forward

    class Passes(list):
        little = False

    def convolve_in_memory(layer, inputs):
        passes.append(len(inputs))
        if passes.little and len(inputs) > ROOM:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return convolve(layer, inputs)

    passes = Passes()
    monkeypatch.setattr(nn.Conv2d, "forward", convolve_in_memory)
    return passes


def check(run, passes):
    """Compare the results of a function with little memory and with plenty."""
    plenty, most = run(), max(passes)
    assert most > ROOM
    passes.clear()
    passes.little = True
    little = run()
    assert most in passes and min(passes) <= ROOM  # it was tried, and halved
    for ours, theirs in zip(little, plenty, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def network(chosen, classes=3):
    torch.manual_seed(0)
    return build_network(chosen, classes).eval()


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda *given: [predict_probabilities(*given, views="flips")], id="predict_probabilities"),
        pytest.param(lambda *given: [extract_features(*given)], id="extract_features"),
        pytest.param(head_features, id="head_features"),
    ],
)
def test_classifiers(config, small_data, passes, run):
    model, images, rows = network(config()), small_data.images(32), small_data.splits["fit"]
    check(lambda: run(model, images, rows), passes)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Images with masks: 30 of them, of 32 pixels."""
    root = write_pairs(tmp_path_factory.mktemp("pairs"), 30)
    return prepare(str(root), sizes=[32], seed=0, store=tmp_path_factory.mktemp("store"))


MASKS = {
    "task": "segmentation",
    "architecture": "unet",
    "backbone": "mobilenetv3_small_050",
    "weights": "random",
    "image_size": 32,
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 4,
    "epochs": 1,
}


def test_segmenters(discs, passes):
    models = [network(TrainConfig.from_dict(MASKS), 1) for _ in range(2)]
    images, masks, rows = discs.images(32), discs.masks(32), np.arange(30)
    check(lambda: [count_pixels(models, images, masks, rows, 1)], passes)
    passes.little = False
    check(lambda: [MaskRequest(rows).run(models[0], images).probabilities], passes)


def test_statistics_of_a_soup(config, small_data, passes):
    """With fewer images at a time they are means over more batches, which are the same for the first layer's means."""
    chosen = config()
    state = TrainState(1, {f"model.{name}": one for name, one in network(chosen).state_dict().items()}, {})
    soup = Checkpoint(state, chosen, small_data.class_names, small_data.pixel_format, {})
    images, rows = small_data.images(32), small_data.splits["fit"][:64]

    def first_means():
        tensors = with_batch_norm_of(soup, images, rows, CPU).state.tensors
        return [next(tensor for name, tensor in tensors.items() if name.endswith("running_mean"))]

    check(first_means, passes)


def test_outputs_of_frozen_stages(config, small_data, passes, monkeypatch, tmp_path):
    """A trial with a batch of two has no smaller one to continue with that would help."""
    monkeypatch.setattr(Cost, "pays", lambda cost, *_: cost.size > 0)
    chosen = config(backbone="mobilenetv3_small_050", freeze_depth=3, batch_size=2)
    model, rows, stores = network(chosen), small_data.splits["fit"], iter("ab")
    model.backbone.freeze(3)

    def outputs():
        data = dataclasses.replace(small_data, store=tmp_path / next(stores))
        return [FrozenCache(model, chosen, data, CPU).table(rows).inputs.float().numpy()]

    check(outputs, passes)
