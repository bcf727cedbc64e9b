import pytest
import torch

from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.optimizers import OPTIMIZERS, build_optimizer, set_lr


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
