import pytest
import torch
from segmentation_models_pytorch.losses import FocalLoss
from torch.nn import functional

from trainables.core.config import TrainConfig
from trainables.core.models.networks.detr import semantic_logits
from trainables.core.training.mask_losses import MASK_LOSSES, build_mask_loss


def loss_of(name, classes, **changes):
    config = {
        "task": "segmentation", "architecture": "unet", "backbone": "resnet18", "weights": "random", "image_size": 32,
        "optimizer": "adam", "lr": 1e-3, "batch_size": 2, "epochs": 1, "loss": name,
    }  # fmt: skip
    return build_mask_loss(TrainConfig.from_dict(config | changes), classes)


def drawn(classes):
    torch.manual_seed(0)
    outputs = 1 if classes == 1 else 1 + classes
    return torch.randn(3, outputs, 8, 8), torch.randint(0, classes + 1, (3, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", MASK_LOSSES)
def test_correct_masks_cost_almost_nothing_and_wrong_ones_much(name, classes):
    logits, targets = drawn(classes)
    loss = loss_of(name, classes)
    right = functional.one_hot(targets.long(), classes + 1).permute(0, 3, 1, 2) * 60.0 - 30
    right = right[:, 1:] if classes == 1 else right
    assert loss(right, targets) < 1e-3 < loss(logits, targets) < loss(-right, targets)


@pytest.mark.parametrize("classes", [1, 3])
def test_cross_entropy_and_sums(classes):
    logits, targets = drawn(classes)
    if classes == 1:
        expected = functional.binary_cross_entropy_with_logits(logits[:, 0], targets.float())
    else:
        expected = functional.cross_entropy(logits, targets.long())
    assert torch.allclose(loss_of("bce", classes)(logits, targets), expected)
    dice = loss_of("dice", classes)(logits, targets)
    assert torch.allclose(loss_of("bce+dice", classes)(logits, targets), expected + dice)


def test_dice_against_its_formula():
    logits, targets = drawn(1)
    probabilities, truth = logits.sigmoid().flatten(), targets.flatten().float()
    expected = 1 - 2 * (probabilities * truth).sum() / (probabilities.sum() + truth.sum())
    assert torch.allclose(loss_of("dice", 1)(logits, targets), expected, atol=1e-6)


def test_focal_with_gamma_zero_is_cross_entropy():
    logits, targets = drawn(1)
    plain, steep = (loss_of("focal", 1, focal_gamma=gamma)(logits, targets) for gamma in (0.0, 3.0))
    assert torch.allclose(plain, loss_of("bce", 1)(logits, targets))
    assert steep < plain


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_of_one_class_equals_the_librarys_and_has_finite_gradients_at_certain_pixels(gamma):
    logits, targets = drawn(1)
    loss = loss_of("focal", 1, focal_gamma=gamma)
    assert torch.allclose(loss(logits, targets), FocalLoss("binary", gamma=gamma)(logits, targets.long()))
    certain = torch.where(targets[:, None] == 1, 200.0, -200.0).requires_grad_()
    loss(certain, targets).backward()
    assert torch.isfinite(certain.grad).all()


def test_focal_of_several_classes_discounts_by_the_softmax():
    logits, targets = drawn(3)
    right = logits.softmax(dim=1).gather(1, targets.long()[:, None])
    assert torch.allclose(loss_of("focal", 3)(logits, targets), (-((1 - right) ** 2) * right.log()).mean())
    assert torch.allclose(loss_of("focal", 3, focal_gamma=0.0)(logits, targets), loss_of("bce", 3)(logits, targets))


def test_focal_of_detr_uses_its_normalised_scores():
    torch.manual_seed(0)
    classes, masks = torch.randn(2, 5, 5), torch.randn(2, 5, 8, 8)
    scores = torch.einsum("bqk,bqhw->bkhw", classes.softmax(dim=2)[..., :-1], masks.sigmoid())
    targets = torch.randint(0, 4, (2, 8, 8), dtype=torch.uint8)
    share = (scores / scores.sum(dim=1, keepdim=True)).gather(1, targets.long()[:, None])
    loss = loss_of("focal", 3)(semantic_logits(classes, masks), targets)
    assert torch.allclose(loss, (-((1 - share) ** 2) * share.log()).mean())


def test_dice_is_one_ratio_per_class_over_the_batch():
    logits, targets = drawn(3)
    targets[targets == 2] = 0  # a class absent from the batch adds nothing
    probabilities = logits.softmax(dim=1).transpose(0, 1).flatten(1)
    truth = functional.one_hot(targets.long().flatten(), 4).T.float()
    ratios = 1 - 2 * (probabilities * truth).sum(1) / (probabilities.sum(1) + truth.sum(1))
    assert torch.allclose(loss_of("dice", 3)(logits, targets), ratios[[0, 1, 3]].sum() / 4, atol=1e-6)
