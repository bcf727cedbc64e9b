"""Training with the cache of frozen stages against training without it."""

import dataclasses
import errno
import hashlib
import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainables.core.models.backbones.originals import CUT, FAMILIES
from trainables.core.models import stored_rows
from trainables.core.models.frozen_cache import Cost, FrozenCache
from trainables.core.models.networks.classifier import Classifier, build_classifier
from trainables.core.node_cache import write_array
from trainables.core.training.fit import fit

CPU = torch.device("cpu")
HALF_FROZEN = {"backbone": "mobilenetv3_small_050", "freeze_depth": 3}
ALL_FROZEN = {"backbone": "mobilenetv3_small_050", "freeze_depth": 7, "lr": 0.01}


@pytest.fixture
def data(small_data, tmp_path):
    """The small data set with fewer images and its own cache."""
    few = {"fit": small_data.splits["fit"][::3], "tune": small_data.splits["tune"][::2]}
    return dataclasses.replace(small_data, splits=small_data.splits | few, store=tmp_path / "store")


@pytest.fixture
def always_stored(monkeypatch):
    monkeypatch.setattr(Cost, "pays", lambda cost, *arguments: cost.size > 0)


def trained(config, data, state=None):
    """Return (metrics by epoch, the final model's tensors)."""
    results = list(fit(config, data, state))
    return [result.metrics for result in results], results[-1].state.model_tensors()


def trained_without(config, data):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FrozenCache, "table", lambda *arguments: None)
        return trained(config, data)


def assert_agree(ours, theirs, rtol=1e-4, atol=1e-5):
    """Compare losses and tensors; other metrics jump where two probabilities change places."""
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert [mine["train/loss"], mine["tune/loss"]] == pytest.approx(
            [other["train/loss"], other["tune/loss"]], rel=rtol
        )
    for name, tensor in theirs[1].items():
        torch.testing.assert_close(ours[1][name], tensor, rtol=rtol, atol=atol)


def stored(data):
    return {path.name for path in data.store.iterdir() if path.name.startswith("prefix-")}


def cache_of(config, data, **changes):
    torch.manual_seed(0)
    chosen = dataclasses.replace(config(**HALF_FROZEN), **changes)
    return FrozenCache(build_classifier(chosen, 3), chosen, data, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["half", "all"])
@pytest.mark.parametrize("name", FAMILIES)
def test_stored_training_agrees_with_recomputed(config, data, always_stored, name, part):
    """Small steps are needed: at lr=1e-3 a perturbation of 1e-7 moves an EfficientNet's next loss by 3e-2."""
    depth = FAMILIES[name] if part == "all" else FAMILIES[name] // 2
    data = dataclasses.replace(data, splits=data.splits | {"fit": data.splits["fit"][:16]})
    chosen = config(backbone=name, freeze_depth=depth, optimizer="sgd", lr=1e-5, batch_size=8, epochs=1)
    assert_agree(trained(chosen, data), trained_without(chosen, data))
    # the cost, `fit` and `tune`; the first half of a grouped model computes nothing
    assert len(stored(data)) == (3 if name in CUT or part == "all" else 1)


@pytest.mark.parametrize("changes", [HALF_FROZEN, ALL_FROZEN])
@pytest.mark.parametrize(
    "how", [{"precision": "bf16"}, {"augmentation": "flip", "sampler": "weighted"}, {"augmentation": "medical"}]
)
def test_it_agrees_in_bf16_and_with_augmentation(config, data, always_stored, changes, how):
    chosen = config(**changes | how, epochs=2, optimizer="sgd")
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if "precision" in how else {}
    assert_agree(trained(chosen, data), trained_without(chosen, data), **tolerance)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("depth", [3, 7])
def test_rows_are_the_outputs_of_the_frozen_stages_in_compute_precision(config, data, always_stored, precision, depth):
    frozen = cache_of(config, data, precision=precision, freeze_depth=depth)
    indices = data.splits["fit"]
    table = frozen.table(indices)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        expected = frozen._model.run_frozen(torch.from_numpy(data.images(32)[indices]))
    rows = table.inputs.permute(0, 3, 1, 2) if table.channels_last else table.inputs
    assert table.channels_last == (depth == 3)
    assert torch.equal(rows, expected) and rows.dtype == expected.dtype == getattr(
        torch, "float32" if precision == "fp32" else "bfloat16"
    )
    np.testing.assert_array_equal(table.targets, data.labels[indices])


@pytest.mark.parametrize("changes", [HALF_FROZEN, ALL_FROZEN | {"augmentation": "flip"}])
def test_a_resumed_run_with_the_cache_equals_an_uninterrupted_one(config, data, always_stored, changes):
    chosen = config(**changes, epochs=3, head_dropout=0.3)
    whole = trained(chosen, data)
    first = next(fit(chosen, data)).state
    copied = dataclasses.replace(first, tensors={name: tensor.clone() for name, tensor in first.tensors.items()})
    torch.manual_seed(12345)
    metrics, model = trained(chosen, data, copied)
    assert metrics == whole[0][1:]
    assert all(torch.equal(model[name], tensor) for name, tensor in whole[1].items())


COUNTING = """
import json, pickle, sys
import torch
torch.set_num_threads(1)
from trainables.core.models.networks import build, classifier
def counted(config, classes):
    model = classifier.build_classifier(config, classes)
    for stage in model.backbone.stages[:config.freeze_depth]:
        stage.register_forward_hook(lambda *_: calls.append(1))
    return model
build.NETWORKS["classification"] = counted
from trainables.core.training.fit import fit
configs, data = pickle.load(open(sys.argv[1], "rb"))
results = []
for config in configs:
    calls = []
    losses = [epoch.metrics["tune/loss"] for epoch in fit(config, data)]
    results.append([len(calls), losses])
print(json.dumps(results))
"""


@pytest.mark.slow
def test_a_second_trial_in_another_process_runs_no_frozen_stage(config, data, always_stored, tmp_path):
    same = config(**ALL_FROZEN, epochs=2)
    sharing = config(**ALL_FROZEN | {"optimizer": "sgd", "batch_size": 9, "head": "mlp"}, epochs=3)
    another = config(**ALL_FROZEN, precision="bf16", epochs=1)
    losses = [metrics["tune/loss"] for metrics in trained(same, data)[0]]

    (tmp_path / "trials").write_bytes(pickle.dumps(([same, sharing, another], data)))
    command = [sys.executable, "-c", COUNTING, str(tmp_path / "trials")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    printed = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    (first, again), (second, others), (third, _) = json.loads(printed)
    assert (first, again) == (0, losses)
    assert second == 0 and others[:2] != losses
    assert third > 0  # another precision is not cached, so the hooks count


def test_the_key_depends_on_everything_that_outputs_depend_on(config, data):
    key = cache_of(config, data)._key
    assert key == cache_of(config, data, lr=1.0, head="mlp", epochs=9, seed=5, batch_size=3)._key
    assert key != cache_of(config, data, precision="bf16")._key
    assert key != cache_of(config, data, freeze_depth=4)._key
    assert key != cache_of(config, data, image_size=64)._key
    assert key != cache_of(config, dataclasses.replace(data, fingerprint="f" * 64))._key


@pytest.mark.parametrize(
    "tensor", ["stages.0.0.weight", "stages.0.1.running_mean", "stages.4.0.conv_pw.weight", "scale"]
)
def test_the_key_depends_on_frozen_tensors_only(config, data, tensor):
    key, other = cache_of(config, data)._key, cache_of(config, data)
    owner = other._model if tensor == "scale" else other._model.backbone
    owner.state_dict()[tensor].view(-1)[0] += 1
    assert (other._key == key) == tensor.startswith("stages.4")


def test_a_resumed_trial_reads_the_outputs_of_its_own_weights(config, data, always_stored):
    """The checkpoint has the weights of the frozen stages, even if the original weights have changed since."""
    chosen = config(**ALL_FROZEN, epochs=2, optimizer="sgd")
    state = next(fit(chosen, data)).state
    moved = {name: tensor.clone() for name, tensor in state.tensors.items()}
    moved["model.backbone.stages.0.0.weight"] *= 2
    state = dataclasses.replace(state, tensors=moved)
    ours = trained(chosen, data, state)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FrozenCache, "table", lambda *arguments: None)
        assert_agree(ours, trained(chosen, data, state))


@pytest.mark.parametrize(
    ("cost", "variants", "epochs", "pays"),
    [
        (Cost(100, 10.0, 1.0, 1.0), 1, 10, True),
        (Cost(100, 3.0, 1.0, 1.0), 1, 10, False),  # reading takes a third of the time: too close
        (Cost(100, 10.0, 30.0, 1.0), 1, 10, False),  # writing takes as long as computing
        (Cost(100, 10.0, 30.0, 1.0), 1, 20, True),  # writing happens once
        (Cost(100, 10.0, 1.0, 1.0), 2, 1, False),  # two variants of an image for one epoch
        (Cost(100, 10.0, 1.0, 0.1), 2, 2, True),
        (Cost(0, 10.0, 0.0, 0.0), 1, 10, False),  # not one tensor
    ],
)
def test_storing_pays_when_computing_costs_far_more(cost, variants, epochs, pays):
    assert cost.pays(variants, epochs) == pays


def test_the_decision_is_logged(config, data, caplog):
    caplog.set_level(logging.INFO, logger="trainables")
    assert cache_of(config, data).table(data.splits["fit"]) is not None
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("frozen stages of mobilenetv3_small_050 (3 of 7), 24 images: stored:")


def test_stages_that_only_group_parameters_are_not_cached(config, data, always_stored):
    """Their output is the normalised image: four to twelve times the bytes for almost no computation."""
    assert cache_of(config, data, backbone="regnetx_002", freeze_depth=4).table(data.splits["fit"]) is None


def test_outputs_that_are_not_one_tensor_are_not_cached(config, data, always_stored, monkeypatch):
    frozen = cache_of(config, data)
    monkeypatch.setattr(frozen._model.backbone, "run_frozen", lambda x: (x, x))
    assert frozen.table(data.splits["fit"]) is None


def test_outputs_beyond_the_bound_are_recomputed_with_equal_results(config, data, always_stored):
    chosen = config(**HALF_FROZEN, epochs=1)
    small = dataclasses.replace(data, cache_size=data.images(32).nbytes + 5_000)  # room for the images only
    assert trained(chosen, small)[0] == trained_without(chosen, data)[0]
    assert {name.rsplit("-", 1)[1] for name in stored(data)} == {"cost"}


def test_a_full_disk_is_a_warning_and_training_continues(config, data, always_stored, monkeypatch, caplog):
    def torn(file, shape, dtype, parts):
        if shape[0] > len(data.splits["tune"]):
            file.write_bytes(next(iter(parts)).tobytes())
            raise OSError(errno.ENOSPC, "No space left on device")
        write_array(file, shape, dtype, parts)

    monkeypatch.setattr(stored_rows, "write_array", torn)
    chosen = config(**HALF_FROZEN, epochs=2, optimizer="sgd")
    ours = trained(chosen, data)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "recomputed every epoch: OSError: [Errno 28] No space left on device" in caplog.text
    assert not list(data.store.glob(".*.partial"))
    assert_agree(ours, trained_without(chosen, data))


def test_an_uncacheable_augmentation_is_logged_once_and_tune_is_cached(config, data, always_stored, caplog):
    caplog.set_level(logging.INFO, logger="trainables")
    list(fit(config(**ALL_FROZEN, augmentation="medical", epochs=3), data))
    logged = [message for message in caplog.messages if "augmentation medical" in message]
    assert len(logged) == 1 and "recomputed for every training image" in logged[0]
    subset = hashlib.sha256(data.splits["tune"].tobytes()).hexdigest()[:16]
    assert {name.split("-", 2)[2] for name in stored(data)} == {"cost", f"{subset}-_as_it_is"}


def test_without_frozen_stages_nothing_is_cached_or_logged(config, data, caplog):
    caplog.set_level(logging.INFO, logger="trainables")
    list(fit(config(epochs=1), data))
    assert stored(data) == set() and not caplog.messages


def test_a_cached_epoch_runs_no_frozen_stage(config, data, always_stored, monkeypatch):
    """In one process, from the second epoch, and with flips."""
    calls, run = [], Classifier.run_frozen
    monkeypatch.setattr(Classifier, "run_frozen", lambda model, pixels: calls.append(len(pixels)) or run(model, pixels))
    epochs = fit(config(**HALF_FROZEN, augmentation="flip", epochs=3), data)
    next(epochs)
    after_one = len(calls)
    assert sum(calls) >= 2 * len(data.splits["fit"]) + len(data.splits["tune"])
    next(epochs), next(epochs)
    assert len(calls) == after_one
