"""L2-SP against torch's own weight decay of the difference from the starting point."""

import pytest
import torch
from torch import nn

from trainables.core.errors import ConfigError
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit
from trainables.core.training.optimization.l2_sp import StartingPoint
from trainables.core.training.optimization.optimizers import build_optimizer
from trainables.core.training.tasks.registry import build_task

STEPS, STRENGTH = 20, 0.3
BACKBONE = {"backbone": "mobilenetv3_small_050"}
INPUTS, TARGETS = torch.randn(16, 5, dtype=torch.float64), torch.randn(16, 3, dtype=torch.float64)


def loss(weight):
    return ((INPUTS @ weight.T - TARGETS) ** 2).mean()


OPTIMIZERS = {
    "sgd": lambda parameters, decay: torch.optim.SGD(
        parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=decay
    ),
    "adam": lambda parameters, decay: torch.optim.Adam(parameters, lr=0.1, weight_decay=decay),
    "adamw": lambda parameters, decay: torch.optim.AdamW(parameters, lr=0.1, weight_decay=decay),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_pull_is_weight_decay_of_the_difference(name):
    start = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, difference = nn.Parameter(start.clone()), nn.Parameter(torch.zeros_like(start))
    optimizer, reference = OPTIMIZERS[name]([ours], 0.0), OPTIMIZERS[name]([difference], STRENGTH)
    origin = StartingPoint([ours], STRENGTH)
    for _ in range(STEPS):
        for weight, used in ((ours, optimizer), (start + difference, reference)):
            used.zero_grad()
            loss(weight).backward()
        origin.pull(optimizer)
        optimizer.step()
        reference.step()
    assert float((ours - start).detach().abs().max()) > 0.1
    torch.testing.assert_close(ours.detach(), (start + difference).detach(), rtol=1e-9, atol=1e-9)


def test_sgd_minimises_the_papers_penalty():
    """The gradient is that of alpha / 2 * ||w - w0||**2 (Li et al. 2018), by autograd."""
    start = torch.randn(3, 5, dtype=torch.float64)
    ours, reference = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    origin = StartingPoint([ours], STRENGTH)
    optimizers = [torch.optim.SGD([parameter], lr=0.1) for parameter in (ours, reference)]
    for _ in range(STEPS):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(ours).backward()
        origin.pull(optimizers[0])
        (loss(reference) + STRENGTH / 2 * ((reference - start) ** 2).sum()).backward()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, reference)


def test_weights_of_the_backbone_are_pulled_instead_of_decayed(config, small_data, pretrained):
    settings = {**BACKBONE, "weights": pretrained, "weight_decay": 0.1, "freeze_depth": 1, "l2_sp": 0.2}
    task = build_task(config(**settings), small_data, torch.device("cpu"))
    pulled = task.starting_point().weights
    optimizer = build_optimizer(config(**settings), task.model, pulled)
    decay = {id(weights): group["weight_decay"] for group in optimizer.param_groups for weights in group["params"]}
    for name, weights in task.model.named_parameters():
        if not weights.requires_grad:
            assert weights not in pulled
            continue
        is_pulled = name.startswith("backbone.") and weights.ndim > 1
        assert (weights in pulled) == is_pulled
        assert decay[id(weights)] == (0.1 if weights.ndim > 1 and not is_pulled else 0.0)
    assert len(pulled) > 10


def test_a_pull_keeps_the_weights_near_the_pretrained_ones(config, small_data, pretrained):
    moved = []
    for strength in (
        0.0,
        5.0,
    ):  # at a small learning rate, so that rounding of one processor or another does not decide
        settings = {**BACKBONE, "weights": pretrained, "l2_sp": strength, "optimizer": "sgd", "lr": 0.02}
        chosen = config(epochs=2, **settings)
        start = dict(build_classifier(chosen, 3).backbone.named_parameters())
        tensors = list(fit(chosen, small_data))[-1].state.model_tensors()
        distances = [
            (tensors[f"backbone.{name}"] - value.detach()).square().sum()
            for name, value in start.items()
            if value.ndim > 1
        ]
        moved.append(float(sum(distances)))
    assert 0 < moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize("changes", [{"l2_sp": 0.1}, {"head_epochs": 1}, {"drop_path_rate": 0.1}])
def test_a_backbone_that_is_frozen_as_a_whole_is_refused(config, small_data, pretrained, changes):
    chosen = config(**BACKBONE, weights=pretrained, freeze_depth=7, **changes)
    with pytest.raises(
        ConfigError, match=f"^{next(iter(changes))} needs stages to train, but freeze_depth=7 freezes all"
    ):
        next(fit(chosen, small_data))
