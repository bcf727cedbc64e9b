from collections import Counter

import pytest
import timm
import torch
from timm.optim import param_groups_weight_decay

from trainables.core.models.checkpoints.train_state import capture, restore
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.optimization.optimizers import OPTIMIZERS, build_optimizer, set_lr, start_momentum


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_trainable_parameter_is_in_one_group(config, optimizer):
    model = build_classifier(config(optimizer=optimizer, freeze_depth=1), 3)
    grouped = [
        parameter
        for group in build_optimizer(config(optimizer=optimizer), model).param_groups
        for parameter in group["params"]
    ]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trainable) < len(list(model.parameters()))
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in trainable}


def test_learning_rate_and_weight_decay_of_each_parameter(config):
    model = build_classifier(config(), 3)
    optimizer = build_optimizer(config(layer_decay=0.5, weight_decay=0.1), model)
    set_lr(optimizer, 0.2)
    depths = {f"backbone.stages.{stage}.": 4 - stage for stage in range(4)} | {"head.": 0}
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        depth = next(depth for prefix, depth in depths.items() if name.startswith(prefix))
        group = groups[id(parameter)]
        assert group["lr"] == pytest.approx(0.2 * 0.5**depth)
        assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ({"weight_decay": 0.1}, 2),  # decayed or not
        ({"weight_decay": 0.0}, 1),
        ({"weight_decay": 0.1, "layer_decay": 0.5}, 2 * 5),  # four stages and the head
    ],
)
def test_there_is_one_group_per_learning_rate_and_decay(config, changes, groups):
    model = build_classifier(config(), 3)
    assert len(build_optimizer(config(**changes), model).param_groups) == groups


def test_weight_decay_of_adamw_is_decoupled(config):
    """With zero gradients, AdamW shrinks matrices by lr * weight_decay (Loshchilov & Hutter 2019) and nothing else."""
    model = build_classifier(config(), 3)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(config(weight_decay=0.1), model)
    set_lr(optimizer, 0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.5 * 0.1 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


# A cut transformer, three models that keep their own forward, and one without parameters to leave out.
BACKBONES = ("vit_tiny_patch16_224", "pit_ti_224", "swin_tiny_patch4_window7_224", "levit_128s", "resnet18")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_weight_decay_is_that_of_timm(config, backbone):
    settings = config(backbone=backbone, image_size=224, weight_decay=0.1)
    model = build_classifier(settings, 3)
    of_head = {id(parameter) for parameter in model.head.parameters()}
    ours = [
        (tuple(parameter.shape), group["weight_decay"])
        for group in build_optimizer(settings, model).param_groups
        for parameter in group["params"]
        if id(parameter) not in of_head
    ]
    original = timm.create_model(backbone, num_classes=0)
    undecayed = getattr(original, "no_weight_decay", set)()
    expected = [
        (tuple(parameter.shape), group["weight_decay"])
        for group in param_groups_weight_decay(original, 0.1, no_weight_decay_list=undecayed)
        for parameter in group["params"]
    ]
    assert Counter(ours) == Counter(expected)


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "levit_128s"])
def test_a_checkpoint_from_before_gives_each_parameter_its_own_state(config, backbone):
    """Version 0.1.0 grouped positions with the matrices; checkpoints number the parameters in the groups' order."""
    settings = config(backbone=backbone, image_size=224, weight_decay=0.1)
    model = build_classifier(settings, 3)
    groups = [
        [parameter for parameter in part.parameters() if (parameter.ndim <= 1) == vectors]
        for part in model.top_down()
        for vectors in (False, True)
    ]
    before = torch.optim.AdamW([{"params": group} for group in groups if group])
    for position, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, position)
    before.step()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimizer = build_optimizer(settings, model)
    restore(capture(1, model, before, scaler), model, optimizer, scaler)
    for position, parameter in enumerate(model.parameters()):
        gradient_mean = optimizer.state[parameter]["exp_avg"]
        torch.testing.assert_close(gradient_mean, torch.full_like(parameter, 0.1 * position))


def sgd_steps(config, fused, gradients, overflows=()):
    """Return two parameters after SGD steps by given gradients, where None is no gradient."""
    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = OPTIMIZERS["sgd"]([{"params": parameters}], config(optimizer="sgd", lr=0.1, momentum=0.9), fused)
    scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=1.0)
    scaler.scale(torch.zeros(()))
    for step, values in enumerate(gradients):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.grad = None if value is None else torch.full((3,), float("inf") if step in overflows else value)
        scaler.step(optimizer)
        scaler.update(1.0)
    return torch.stack([parameter.detach() for parameter in parameters])


@pytest.mark.parametrize("overflows", [(), (0,), (0, 1), (2,)])
def test_fused_sgd_equals_plain_sgd_with_late_gradients_and_skipped_steps(config, overflows):
    """On a GPU SGD is fused. By itself it fails where a gradient is late, and keeps garbage where a step is skipped."""
    gradients = [(1.0, None), (0.5, None), (0.25, 1.0), (1.0, 0.5)]
    plain, fused = (sgd_steps(config, fused, gradients, overflows) for fused in (False, True))
    torch.testing.assert_close(fused, plain)


def test_a_state_without_momentum_starts_with_none(config):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS["sgd"]([{"params": [parameter]}], config(optimizer="sgd", momentum=0.9), True)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {}})  # as a CPU saved it
    start_momentum(optimizer)
    assert torch.equal(optimizer.state[parameter]["momentum_buffer"], torch.zeros(3))
