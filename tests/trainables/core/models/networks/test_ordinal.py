import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trainables.core.models.networks.ordinal import ContinuationRatio
from trainables.core.training.losses import cross_entropy

CLASSES = 4
LOGITS = 3 * torch.randn(50, CLASSES - 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
GRADES = torch.randint(0, CLASSES, (50,), generator=torch.Generator().manual_seed(1))


def test_probabilities_are_those_of_the_chain_of_conditions():
    above = torch.sigmoid(LOGITS).numpy()
    expected = np.stack(
        [np.prod(above[:, :grade], axis=1) * (1 - above[:, grade] if grade < 3 else 1) for grade in range(CLASSES)], 1
    )
    outputs = ContinuationRatio()(LOGITS)
    np.testing.assert_allclose(outputs.softmax(1), expected, atol=1e-6)
    np.testing.assert_allclose(outputs.exp(), expected, atol=1e-6)


def test_cross_entropy_is_the_loss_of_the_paper_but_for_its_divisor():
    """The loss of Shi, Cao and Raschka (2021), condition by condition."""
    total, pairs = 0.0, 0
    for condition in range(CLASSES - 1):
        subset = condition <= GRADES
        labels = (GRADES[subset] > condition).double()
        total += float(F.binary_cross_entropy_with_logits(LOGITS[subset, condition], labels, reduction="sum"))
        pairs += int(subset.sum())
    of_paper = total / pairs
    ours = float(cross_entropy(ContinuationRatio()(LOGITS), GRADES))
    assert ours == pytest.approx(of_paper * pairs / len(GRADES), rel=1e-5)
    assert 1 < pairs / len(GRADES) < CLASSES - 1


def test_two_grades_are_a_logistic_regression():
    logits, labels = LOGITS[:, :1], (GRADES > 1).long()
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.double())
    assert float(cross_entropy(ContinuationRatio()(logits), labels)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_have_finite_gradients(dtype):
    logits = torch.tensor([[90.0, 90.0, -90.0], [-90.0, 90.0, 90.0]], dtype=dtype, requires_grad=True)
    outputs = ContinuationRatio()(logits)
    assert outputs.dtype == torch.float32
    cross_entropy(outputs, torch.tensor([0, 3])).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.any()
