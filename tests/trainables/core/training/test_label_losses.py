import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from trainables.core.training.label_losses import asymmetric, binary_cross_entropy, binary_focal, positive_weights

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(40, 3, generator=GENERATOR, dtype=torch.float64)
TARGETS = (torch.rand(40, 3, generator=GENERATOR) < 0.3).long()
P, Y = LOGITS.sigmoid().numpy(), TARGETS.numpy()


def test_binary_cross_entropy_is_scikit_learns_log_loss():
    expected = np.mean([log_loss(Y[:, label], P[:, label]) for label in range(3)])
    assert binary_cross_entropy(LOGITS, TARGETS).item() == pytest.approx(expected)


def test_focal_loss_follows_its_formula():
    truth = np.where(Y == 1, P, 1 - P)
    weights = np.array([1.0, 2.0, 5.0])
    expected = (np.where(Y == 1, weights, 1) * -((1 - truth) ** 1.5) * np.log(truth)).mean()
    assert binary_focal(LOGITS, TARGETS, torch.from_numpy(weights), 1.5).item() == pytest.approx(expected)


def test_asymmetric_loss_follows_its_formula():
    shifted = np.maximum(P - 0.1, 0)
    losses = np.where(Y == 1, (1 - P) ** 1.0 * np.log(P), shifted**3.0 * np.log(1 - shifted))
    assert asymmetric(LOGITS, TARGETS, 1.0, 3.0, 0.1).item() == pytest.approx(-losses.mean())


def test_without_exponents_and_margin_all_losses_are_binary_cross_entropy():
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    plain, weighted = binary_cross_entropy(LOGITS, TARGETS), binary_cross_entropy(LOGITS, TARGETS, weights)
    assert binary_focal(LOGITS, TARGETS, gamma=0).item() == pytest.approx(plain.item())
    assert binary_focal(LOGITS, TARGETS, weights, gamma=0).item() == pytest.approx(weighted.item())
    assert asymmetric(LOGITS, TARGETS, 0, 0, 0).item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize(
    "loss", [lambda *pair: binary_focal(*pair, gamma=0.5), lambda *pair: asymmetric(*pair, 0.5, 0.5)]
)
def test_gradients_are_finite_for_certain_predictions(loss):
    logits = torch.tensor([[40.0, -40.0], [-40.0, 40.0], [200.0, -200.0]], requires_grad=True)
    loss(logits, torch.tensor([[1, 0], [1, 0], [1, 0]])).backward()
    assert torch.isfinite(logits.grad).all()


def test_balanced_positives_weigh_as_much_as_negatives():
    positives = Y.sum(axis=0)
    np.testing.assert_allclose(positive_weights("balanced", TARGETS).numpy() * positives, 40 - positives)
    np.testing.assert_allclose(positive_weights("sqrt", TARGETS) ** 2, positive_weights("balanced", TARGETS), rtol=1e-6)
    assert positive_weights("none", TARGETS) is None
