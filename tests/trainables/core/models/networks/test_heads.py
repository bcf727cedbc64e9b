"""Heads against their formulas."""

import pytest
import torch
from torch import nn

from trainables.core.errors import ConfigError
from trainables.core.models.networks.heads import HEADS, ResidualBlock, SqueezeExcitation, build_head

FEATURES, CLASSES, WIDTH = 40, 3, 32


def features(batch: int = 6) -> torch.Tensor:
    return torch.randn(batch, FEATURES, generator=torch.Generator().manual_seed(0))


def head_of(kind: str, dropout: float = 0.4) -> nn.Module:
    torch.manual_seed(1)
    return build_head(kind, FEATURES, CLASSES, dropout, WIDTH)


def dropouts(head: nn.Module) -> list[float]:
    return [module.p for module in head.modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize("kind", HEADS)
def test_logits_have_a_column_per_class_and_every_parameter_learns(kind: str) -> None:
    head = head_of(kind).train()
    logits = head(features())
    assert logits.shape == (6, CLASSES)
    # squares, because a plain sum has no gradient through batch norm
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())


@pytest.mark.parametrize("kind", HEADS)
def test_eval_scores_images_independently_and_a_seed_determines_the_weights(kind: str) -> None:
    head = head_of(kind).eval()
    together, one_by_one = head(features()), torch.cat([head(row) for row in features().split(1)])
    torch.testing.assert_close(together, one_by_one)
    assert torch.equal(head_of(kind).eval()(features()), together)
    assert head(torch.full((1, FEATURES), torch.nan)).isnan().all()


@pytest.mark.parametrize("kind", HEADS)
def test_dropout_is_random_in_training_and_off_at_zero(kind: str) -> None:
    head = head_of(kind).train()
    assert not torch.equal(head(features()), head(features()))
    still = head_of(kind, dropout=0.0).train()
    assert torch.equal(still(features()), still(features()))


def test_linear_and_mlp_are_their_formulas() -> None:
    linear = head_of("linear").eval()
    weight, bias = linear.parameters()
    torch.testing.assert_close(linear(features()), features() @ weight.T + bias)
    mlp = head_of("mlp").eval()
    weight, bias, weight_2, bias_2 = mlp.parameters()
    assert weight.shape == (WIDTH, FEATURES)
    torch.testing.assert_close(mlp(features()), (features() @ weight.T + bias).clamp(min=0) @ weight_2.T + bias_2)
    assert dropouts(mlp) == [0.4, 0.4]
    assert dropouts(build_head("mlp", FEATURES, CLASSES, 0.4, WIDTH, hidden_dropout=0.3)) == [0.4, 0.3]


def test_residual_narrows_and_its_dropout_falls() -> None:
    head = head_of("residual")
    blocks = [module for module in head.modules() if isinstance(module, ResidualBlock)]
    assert [block.layers[0].out_features for block in blocks] == [32, 16, 8]
    assert dropouts(head) == pytest.approx([0.4, 0.2, 0.1])


def test_residual_is_initialised_by_the_rule_of_glorot() -> None:
    for layer in [module for module in head_of("residual").modules() if isinstance(module, nn.Linear)]:
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert 0.7 * bound < layer.weight.abs().max() <= bound
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(("outputs", "linked"), [(FEATURES, nn.Identity), (16, nn.Linear)])
def test_a_residual_block_adds_its_input(outputs: int, linked: type[nn.Module]) -> None:
    block = ResidualBlock(FEATURES, outputs, dropout=0.0).eval()
    assert isinstance(block.link, linked)
    nn.init.zeros_(block.layers[4].weight)  # silences the layers
    torch.testing.assert_close(block(features()), block.link(features()).clamp(min=0))


def test_squeeze_excitation_is_its_formula() -> None:
    module = SqueezeExcitation(FEATURES)
    weight, bias, weight_2, bias_2 = module.parameters()
    assert weight.shape == (FEATURES // 16, FEATURES)
    gate = 1 / (1 + torch.exp(-((features() @ weight.T + bias).clamp(min=0) @ weight_2.T + bias_2)))
    torch.testing.assert_close(module(features()), features() * gate)
    assert SqueezeExcitation(5)(torch.ones(1, 5)).shape == (1, 5)


def test_attention_has_three_blocks() -> None:
    layers = [module for module in head_of("attention").modules() if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in layers] == [FEATURES // 16, FEATURES, 32, 16, 8, CLASSES]
    assert dropouts(head_of("attention")) == [0.4, 0.4, 0.4]


def test_an_unknown_kind_or_a_small_width_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^head must be one of linear, mlp, residual, attention, but got 'deep'$"):
        build_head("deep", FEATURES, CLASSES, 0.1)
    with pytest.raises(ConfigError, match=r"^head width must be at least 4, but got 3$"):
        build_head("mlp", FEATURES, CLASSES, 0.1, width=3)
