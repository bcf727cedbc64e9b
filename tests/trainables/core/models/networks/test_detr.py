import socket
import sys

import numpy as np
import pytest
import torch

from tests.images import write_pairs
from tests.trainables.core.training.resumed import assert_resumed_equals_uninterrupted
from trainables.core.config import TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.errors import ConfigError, WeightsError
from trainables.core.hub.failures import HubError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, save_frozen
from trainables.core.models.networks import detr
from trainables.core.models.networks.detr import Detr, semantic_logits
from trainables.core.models.networks.detr_variants import build_original
from trainables.core.models.networks.segmenter import build_segmenter, check_segmenter
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import _load_pyfunc, save_ensemble
from trainables.core.serving.predict_masks import trained_segmenter
from trainables.core.training.fit import fit

TINY, HUB = "detr-tiny", "detr-resnet-50-panoptic"


def configured(**changes):
    base = {
        "task": "segmentation", "architecture": "detr", "backbone": TINY, "weights": "random", "image_size": 64,
        "optimizer": "adamw", "lr": 1e-3, "batch_size": 4, "epochs": 2, "device": "cpu", "clip_norm": 1.0,
    }  # fmt: skip
    return TrainConfig.from_dict(base | changes)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a test must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    root = write_pairs(tmp_path_factory.mktemp("pairs"), 48, size=64)
    return prepare(str(root), sizes=[64], seed=0, store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A model of transformers with perturbed parameters, as if trained, and the folder of its file."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    model = build_original(TINY, 250).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    (folder / "model.safetensors").rename(folder / f"{TINY}.safetensors")
    return model, folder


@pytest.mark.slow
def test_weights_of_a_folder_give_the_originals_masks_and_queries(original):
    model, folder = original
    check_segmenter("detr", TINY, str(folder), 96)
    ours = build_segmenter(configured(weights=str(folder)), 3).eval()
    images = torch.randn(2, 3, 96, 80)
    with torch.no_grad():
        expected = model(images)
        decoded = ours.decoder(ours.encoder(images))
        assert torch.allclose(ours.head._query_masks(decoded), expected.pred_masks, atol=1e-5)
        assert torch.allclose(decoded.queries, expected.last_hidden_state, atol=1e-5)
    assert ours.head.classes.out_features == 5  # three, the background, and no object


def test_batch_norm_has_the_originals_statistics():
    torch.manual_seed(0)
    model = build_original(HUB, 1).eval()
    backbone = model.detr.model.backbone.model
    for name, buffer in backbone.named_buffers():
        buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detr, "build_original", lambda *arguments: model)
        ours = Detr(HUB, 1).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for found, expected in zip(ours.encoder(images)[-4:], backbone(images), strict=True):
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in ours.encoder.modules())
    assert all(parameter.requires_grad for parameter in ours.parameters())


@pytest.mark.parametrize("num_outputs", [2, 4])
def test_semantic_logits_are_the_scores_of_mask_classification(num_outputs):
    torch.manual_seed(0)
    classes, masks = torch.randn(2, 5, num_outputs + 1), 3 * torch.randn(2, 5, 3, 4)
    scores = torch.einsum("bqk,bqhw->bkhw", classes.softmax(dim=2)[..., :-1], masks.sigmoid())
    shares = scores / scores.sum(dim=1, keepdim=True)
    logits = semantic_logits(classes, masks)
    found = torch.cat([1 - logits.sigmoid(), logits.sigmoid()], dim=1) if num_outputs == 2 else logits.softmax(dim=1)
    assert torch.allclose(found, shares, atol=1e-6)


def test_semantic_logits_stay_finite_where_probabilities_would_not():
    classes = torch.tensor([[[200.0, -200.0, 0.0], [-200.0, 200.0, 300.0]]], requires_grad=True)
    masks = torch.full((1, 2, 1, 1), -500.0, requires_grad=True)
    logits = semantic_logits(classes, masks)
    logits.sum().backward()
    assert all(torch.isfinite(tensor).all() for tensor in (logits, classes.grad, masks.grad))


@pytest.mark.parametrize(("num_classes", "channels", "size"), [(1, 1, 64), (3, 4, 50)])
def test_logits_have_the_images_size_and_every_parameter_a_gradient(num_classes, channels, size):
    torch.manual_seed(0)
    model = build_segmenter(configured(image_size=size), num_classes)
    pixels = torch.randint(0, 256, (2, size, size, 1), dtype=torch.uint8)
    logits = model(pixels)
    assert logits.shape == (2, channels, size, size)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.slow
def test_it_learns_and_predicts_the_same_after_saving(discs, tmp_path):
    epochs = list(fit(configured(epochs=16), discs))
    losses = [epoch.metrics["train/loss"] for epoch in epochs]
    assert losses[-1] < 0.5 * losses[0]
    assert epochs[-1].metrics["tune/dice"] > 0.7  # a constant prediction scores 0
    checkpoint = Checkpoint(epochs[-1].state, configured(epochs=16), discs.class_names, discs.pixel_format, {})
    save_checkpoint(tmp_path / "c", checkpoint)
    loaded = load_checkpoint(tmp_path / "c")
    pixels = torch.from_numpy(discs.images(64)[:4].copy())
    models = [trained_segmenter(one, torch.device("cpu")) for one in (checkpoint, loaded)]
    with torch.no_grad():
        first, second = (model(pixels) for model in models)
    assert torch.equal(first, second)
    save_ensemble(tmp_path / "e", [[loaded]], Combination.of(np.ones(1)))
    masks = _load_pyfunc(str(tmp_path / "e")).masks(list(discs.images(64)[:4]))
    assert np.array_equal(np.stack(masks), (first[:, 0] > 0).numpy())


def test_a_resumed_run_is_the_uninterrupted_one(discs, tmp_path):
    config = configured(augmentation="flip", schedule="cosine", optimizer="sgd", accumulate_steps=2, loss="focal+dice")
    assert_resumed_equals_uninterrupted(config, discs, tmp_path / "checkpoint")


@pytest.mark.parametrize("part", ["encoder", "decoder", "head"])
def test_frozen_parts_do_not_move_and_are_stored_once(discs, tmp_path, part):
    config = configured(**{f"freeze_{part}": True})
    epochs = []
    for epoch in fit(config, discs):
        epochs.append(
            {name: tensor.clone() for name, tensor in epoch.state.tensors.items() if name.startswith("model.")}
        )
    first, second = epochs
    moved = {name.split(".")[1] for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"encoder", "decoder", "head"} - {part}
    frozen = save_frozen(tmp_path / "frozen", epoch.state, config.frozen)
    assert frozen.names == {name for name in first if name.startswith(f"model.{part}.")}


@pytest.mark.parametrize(("architecture", "backbone"), [("detr", "resnet18"), ("unet", TINY)])
def test_detr_and_its_backbones_must_be_used_together(architecture, backbone):
    with pytest.raises(ConfigError, match=f"must be used together, but got {architecture} on {backbone}"):
        check_segmenter(architecture, backbone, "random", 64)


def test_images_of_a_single_position_are_refused():
    with pytest.raises(ConfigError, match="detr needs images of more than 32 pixels, but got image_size=32"):
        check_segmenter("detr", TINY, "random", 32)


def test_unavailable_weights_are_refused(tmp_path, original):
    with pytest.raises(WeightsError, match=r"detr-tiny has no pretrained weights: .*--weights random"):
        check_segmenter("detr", TINY, "pretrained", 64)
    with pytest.raises(WeightsError, match=f"has no {HUB}.safetensors"):
        check_segmenter("detr", HUB, str(tmp_path), 64)
    (tmp_path / f"{HUB}.safetensors").hardlink_to(original[1] / f"{TINY}.safetensors")
    with pytest.raises(WeightsError, match=f"key detr.model.* of {HUB} is missing"):
        check_segmenter("detr", HUB, str(tmp_path), 64)


@pytest.mark.usefixtures("hub")  # an empty cache
def test_without_a_hub_the_error_names_the_remedy():
    check_segmenter("detr", HUB, "pretrained", 64)
    with pytest.raises(HubError, match=f"cannot download the weights of {HUB}: .*; or put {HUB}.safetensors in a"):
        build_segmenter(configured(backbone=HUB, weights="pretrained"), 1)


def test_without_transformers_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"architecture detr needs transformers: .*pip install .* '\.\[detr\]'"):
        check_segmenter("detr", TINY, "random", 64)
