"""Averages of networks against sums by hand, and their batch-norm statistics against torch's and a plain loop."""

import copy
import dataclasses

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import update_bn

from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.build import trained_network
from trainables.core.models.soup import average, with_batch_norm_of
from trainables.core.serving.predict_classes import predict_probabilities
from trainables.core.training.fit import fit

CPU = torch.device("cpu")


@pytest.fixture
def trained(config, small_data):
    def train(**changes):
        changed = config(**{"backbone": "mobilenetv3_small_050", "epochs": 1, "lr": 0.02, **changes})
        state = next(fit(changed, small_data)).state
        copied = dataclasses.replace(state, tensors={name: one.clone() for name, one in state.tensors.items()})
        return Checkpoint(copied, changed, small_data.class_names, small_data.pixel_format, {"best": 1.0})

    return train


def test_every_tensor_is_the_mean_of_the_predicting_weights(trained):
    """Averaged weights (EMA) predict, not those that were trained further; the optimizer's state is left out."""
    checkpoints = [trained(seed=0, ema_decay=0.9, freeze_depth=2), trained(seed=1), trained(seed=2, freeze_depth=1)]
    soup = average(iter(checkpoints))
    for name, tensor in soup.state.tensors.items():
        parts = [checkpoint.state.tensors[name].numpy() for checkpoint in checkpoints]
        expected = (parts[0].astype(np.float64) + parts[1] + parts[2]) / 3
        np.testing.assert_allclose(tensor.numpy(), expected.astype(parts[0].dtype), rtol=1e-7, atol=0)
    assert soup.state.tensors.keys() == {name for name in checkpoints[1].state.tensors if name.startswith("model.")}
    assert soup.config == dataclasses.replace(checkpoints[0].config, freeze_depth=0)
    assert (soup.progress, soup.class_names) == ({}, checkpoints[0].class_names)


def test_equal_frozen_stages_stay_equal_to_the_bit(trained):
    checkpoints = [trained(seed=seed, freeze_depth=2) for seed in (0, 0, 0)]
    soup = average(checkpoints)
    frozen = [
        name for name in soup.state.tensors if name.startswith(("model.backbone.stages.0", "model.backbone.stages.1"))
    ]
    assert frozen
    assert all(torch.equal(soup.state.tensors[name], checkpoints[0].state.tensors[name]) for name in frozen)


def test_lora_updates_are_averaged_as_changes_of_the_weights(config, small_data, tmp_path):
    """The mean of W + B A, whatever the ranks, which is not W + (mean B) (mean A)."""
    torch.manual_seed(5)
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "test_vit.safetensors")
    base = {"backbone": "test_vit", "weights": str(tmp_path), "epochs": 1, "lr": 0.01}
    configs = [config(**base, lora_rank=2), config(**base, lora_rank=3, seed=1), config(**base, seed=2)]
    states = [next(fit(each, small_data)).state for each in configs]
    checkpoints = [
        Checkpoint(state, each, small_data.class_names, small_data.pixel_format, {})
        for state, each in zip(states, configs, strict=True)
    ]
    soup = average(checkpoints)
    layers = [
        name.removesuffix("lora_a")
        for name in states[0].tensors
        if name.startswith("model.") and name.endswith("lora_a")
    ]
    assert layers
    for layer in layers:
        first, second, third = (one.tensors for one in states)
        parts = [one[f"{layer}weight"] + one[f"{layer}lora_b"] @ one[f"{layer}lora_a"] for one in (first, second)]
        expected = (parts[0] + parts[1] + third[f"{layer}weight"]) / 3
        torch.testing.assert_close(soup.state.tensors[f"{layer}weight"], expected)
    alone, images = average(checkpoints[:1]), small_data.images(32)
    predictions = [
        predict_probabilities(trained_network(one, CPU), images, np.arange(9)) for one in (alone, checkpoints[0])
    ]
    np.testing.assert_allclose(*predictions, atol=1e-5)
    trained_network(soup, CPU)  # every tensor has its place in a network without LoRA


def test_networks_of_different_shapes_are_refused(trained):
    with pytest.raises(CheckpointError, match="networks to average must have the same tensors"):
        average([trained(), trained(head="mlp", head_width=8)])


def batches_of(rows):
    """Equal batches of at most 64 images in the order of seed 0."""
    return np.array_split(np.random.default_rng(0).permutation(rows), -(-len(rows) // 64))


def test_statistics_are_those_that_torch_computes(trained, small_data):
    soup = average([trained(seed=0), trained(seed=1)])
    images, rows = small_data.images(32), small_data.splits["fit"]
    updated = with_batch_norm_of(soup, images, rows, CPU)
    model = trained_network(soup, CPU)
    update_bn([torch.from_numpy(images[batch]) for batch in batches_of(rows)], model)
    assert len(batches_of(rows)) > 1
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(updated.state.tensors[f"model.{name}"], expected, rtol=0, atol=0)
    moved = [
        name for name in updated.state.tensors if not torch.equal(updated.state.tensors[name], soup.state.tensors[name])
    ]
    assert moved
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)


def test_frozen_stages_keep_their_statistics_and_the_others_get_those_of_a_plain_loop(trained, small_data):
    soup = average([trained(seed=3, freeze_depth=2), trained(seed=3, freeze_depth=3, lr=0.05)])
    images, rows = small_data.images(32), small_data.splits["fit"]
    updated = with_batch_norm_of(soup, images, rows, CPU).state.tensors
    reference = copy.deepcopy(trained_network(soup, CPU))
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def remember(name):
        def hook(_, inputs):
            values = inputs[0].detach().double().numpy()
            axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            seen.setdefault(name, []).append((values.mean(axes), values.var(axes, ddof=0) * _bessel(values)))

        return hook

    for name, module in reference.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not name.startswith(("backbone.stages.0.", "backbone.stages.1.")):
            module.train()
            module.register_forward_pre_hook(remember(name))
    with torch.no_grad():
        for batch in batches_of(rows):
            reference(torch.from_numpy(images[batch]))
    assert seen
    for name, values in seen.items():
        mean, variance = (np.mean(part, axis=0) for part in zip(*values, strict=True))
        np.testing.assert_allclose(updated[f"model.{name}.running_mean"], mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(updated[f"model.{name}.running_var"], variance, rtol=1e-3, atol=1e-4)
    frozen = [name for name in updated if name.startswith(("model.backbone.stages.0.", "model.backbone.stages.1."))]
    assert any(name.endswith("running_var") for name in frozen)
    assert all(torch.equal(updated[name], soup.state.tensors[name]) for name in frozen)


def _bessel(values):
    count = values.size / values.shape[1]
    return count / (count - 1)


def test_a_network_without_batch_norm_stays_as_it_is(trained, small_data):
    checkpoint = trained(backbone="test_vit")
    assert with_batch_norm_of(checkpoint, small_data.images(32), small_data.splits["fit"], CPU) is checkpoint
