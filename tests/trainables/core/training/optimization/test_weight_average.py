"""The average of the weights against timm's, and what is scored and saved."""

import copy

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.build import trained_network
from trainables.core.serving.predict_classes import predict_probabilities
from trainables.core.training.fit import fit
from trainables.core.training.metrics.classification_metrics import classification_metrics
from trainables.core.training.optimization.weight_average import WeightAverage, average_decay


def network():
    torch.manual_seed(0)
    # no bias before batch norm: it would change by rounding only, and not on every processor
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def test_it_is_timms_average_of_weights_and_statistics(monkeypatch):
    model = network()
    ours, theirs = WeightAverage(model, 0.8, ()), ModelEmaV3(model)
    monkeypatch.setattr(theirs, "get_decay", lambda step: average_decay(0.8, step))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(60):
        optimizer.zero_grad()
        model(torch.randn(5, 3, 4, 4)).square().mean().backward()
        optimizer.step()
        ours.update(step)
        theirs.update(model, step)
    expected = {name: tensor for name, tensor in theirs.module.state_dict().items() if tensor.is_floating_point()}
    assert ours.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(ours.tensors[name], tensor, rtol=0, atol=0)
        assert not torch.equal(tensor, model.state_dict()[name])


def test_the_decay_grows_to_its_limit():
    assert [average_decay(0.9, step) for step in (0, 1, 8, 80, 10_000)] == [0.1, 2 / 11, 0.5, 0.9, 0.9]


def test_the_average_is_applied_within_a_block_only():
    model = network()
    average = WeightAverage(model, 0.9, ("0.",))
    assert not any(name.startswith("0.") for name in average.tensors)
    before = copy.deepcopy(model.state_dict())
    for tensor in average.tensors.values():
        tensor.fill_(3.0)
    with pytest.raises(ZeroDivisionError), average.applied():
        assert (model[3].weight == 3).all() and torch.equal(model[0].weight, before["0.weight"])
        raise ZeroDivisionError
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all((tensor == 3).all() for tensor in average.tensors.values())


def test_the_average_is_scored_and_saved(config, small_data):
    """The checkpoint predicts what ``tune`` was scored by, and training goes on from the other weights."""
    chosen = config(epochs=3, ema_decay=0.9)
    plain = [result.metrics for result in fit(config(epochs=3), small_data)]
    for epoch, result in enumerate(fit(chosen, small_data)):
        assert result.metrics["train/loss"] == plain[epoch]["train/loss"]  # the training is the same
        assert result.metrics["tune/loss"] != plain[epoch]["tune/loss"]
        saved = Checkpoint(result.state, chosen, small_data.class_names, small_data.pixel_format, {})
        tune = small_data.splits["tune"]
        predicted = predict_probabilities(trained_network(saved, torch.device("cpu")), small_data.images(32), tune)
        scores = classification_metrics(predicted, small_data.labels[tune], small_data.class_names)
        assert scores["log_loss"] == pytest.approx(result.metrics["tune/log_loss"], rel=1e-5)


def test_the_saved_tensors_are_the_average_of_a_plain_training(config, small_data):
    """One batch an epoch, so that every step can be seen."""
    shared = {"epochs": 4, "batch_size": 256, "optimizer": "sgd", "lr": 0.1}
    weights = [
        {name: tensor.clone() for name, tensor in result.state.model_tensors().items()}
        for result in fit(config(**shared), small_data)
    ]
    before = torch.zeros(0)
    for step, result in enumerate(fit(config(ema_decay=0.5, **shared), small_data)):
        state = result.state
        for name, tensor in state.trained_tensors().items():
            assert torch.equal(tensor, weights[step][name])
        if step:
            decay = min(0.5, (1 + step) / (10 + step))
            key = "head.1.weight"
            expected = decay * before + (1 - decay) * weights[step][key]
            torch.testing.assert_close(state.model_tensors()[key], expected)
        before = state.model_tensors()["head.1.weight"].clone()
