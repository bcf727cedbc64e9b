import pytest
import torch
import torch.nn.functional as F

from trainables.core.training.losses import cross_entropy, focal

LOGITS = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) * 3
TARGETS = torch.randint(0, 4, (64,), generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.7])


def test_focal_with_gamma_zero_is_cross_entropy():
    torch.testing.assert_close(focal(LOGITS, TARGETS, WEIGHTS, 0.0), F.cross_entropy(LOGITS, TARGETS, WEIGHTS))
    torch.testing.assert_close(focal(LOGITS, TARGETS, None, 0.0), F.cross_entropy(LOGITS, TARGETS))


def test_focal_against_a_loop():
    total = weight = 0.0
    for logits, target in zip(LOGITS.double(), TARGETS, strict=True):
        p = logits.softmax(0)[target]
        total += float(WEIGHTS[target] * -((1 - p) ** 2) * p.log())
        weight += float(WEIGHTS[target])
    torch.testing.assert_close(float(focal(LOGITS.double(), TARGETS, WEIGHTS.double(), 2.0)), total / weight)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_finite_gradient_where_a_class_is_certain(gamma):
    logits = torch.tensor([[60.0, -60.0], [20.0, 0.0], [1.0, 0.0]], requires_grad=True)
    focal(logits, torch.zeros(3, dtype=torch.int64), gamma=gamma).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[2].any()


def test_cross_entropy_with_weights_against_a_loop():
    total = weight = 0.0
    for logits, target in zip(LOGITS.double(), TARGETS, strict=True):
        total -= float(WEIGHTS[target] * logits.log_softmax(0)[target])
        weight += float(WEIGHTS[target])
    torch.testing.assert_close(float(cross_entropy(LOGITS.double(), TARGETS, WEIGHTS.double())), total / weight)


def test_smoothing_mixes_in_the_uniform_distribution():
    log_p = LOGITS.log_softmax(1)
    soft = torch.full_like(log_p, 0.1 / 4).scatter(1, TARGETS[:, None], 0.9 + 0.1 / 4)
    torch.testing.assert_close(cross_entropy(LOGITS, TARGETS, None, 0.1), -(soft * log_p).sum(1).mean())
