import numpy as np
import pytest
import torch
from torch import nn

from trainables.core.inspect.grad_cam import UnexplainedError, grad_cam
from trainables.core.models.backbones.backbone import build_backbone
from trainables.core.models.networks.classifier import Classifier
from trainables.core.models.networks.heads import build_head


def classifier(name, size, classes=3, freeze=0):
    torch.manual_seed(0)
    backbone = build_backbone(name, "random", size)
    backbone.freeze(freeze)
    return Classifier(backbone, build_head("mlp", backbone.num_features, classes, 0.0, 16)).eval()


def pixels(count, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 1), dtype=np.uint8)


def by_hand(model, split, image, label):
    """Grad-CAM by its definition, with ``split`` = (pixels to feature maps, feature maps to features)."""
    to_maps, from_maps = split
    maps = to_maps(model.normalised(torch.from_numpy(image[None]))).detach().requires_grad_()
    model.head(from_maps(maps.clone()))[0, label].backward()
    heat = torch.zeros(maps.shape[2:])
    for channel in range(maps.shape[1]):
        heat += maps.grad[0, channel].mean() * maps.detach()[0, channel]
    return (heat.clamp_min(0) / heat.clamp_min(0).max().clamp_min(1e-12)).numpy()


@pytest.mark.parametrize(
    ("name", "size", "tail"),
    [("scratch_cnn", 64, 2), ("torchvision:squeezenet1_1", 64, 3), ("resnet10t", 64, 2)],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_heat_maps_equal_the_definition(name, size, tail, frozen):
    model = classifier(name, size)
    model.backbone.freeze(model.backbone.depth if frozen else 0)
    *first, last = model.backbone.stages
    split = nn.Sequential(*first, *list(last)[:-tail]), nn.Sequential(*list(last)[-tail:])
    images, labels = pixels(3, size), np.array([0, 2, 1])
    maps = grad_cam(model, images, labels)
    assert all(parameter.grad is None for parameter in model.parameters())
    for image, label, heat in zip(images, labels, maps, strict=True):
        np.testing.assert_allclose(heat, by_hand(model, split, image, label), atol=1e-4)
    assert maps.max() == pytest.approx(1)


def test_tokens_of_a_transformer_are_laid_out_on_their_grid():
    model = classifier("vit_tiny_patch16_224", 64)
    images = pixels(2, 64)
    maps = grad_cam(model, images, np.array([0, 1]))
    assert maps.shape == (2, 4, 4)
    embedding, *middle, last = model.backbone.stages
    blocks = list(last)[:-1]
    # Only the class token leaves the last block, so the tokens before that block are explained.
    before = nn.Sequential(embedding, *middle, *blocks[:-1])(model.normalised(torch.from_numpy(images[:1])))
    tokens = before.detach().requires_grad_()
    model.head(list(last)[-1](blocks[-1](tokens)))[0, 0].backward()
    heat = (tokens.grad[0, 1:].mean(0) * tokens.detach()[0, 1:]).sum(1).clamp_min(0)
    np.testing.assert_allclose(maps[0], (heat / heat.max()).reshape(4, 4).detach().numpy(), atol=1e-4)


def test_a_backbone_without_stages_is_refused():
    with pytest.raises(UnexplainedError, match="not cut into stages"):
        grad_cam(classifier("regnetx_002", 32), pixels(1, 32), np.array([0]))


def test_a_layer_with_one_place_is_skipped():
    model = classifier("scratch_cnn", 32)
    assert grad_cam(model, pixels(1, 32), np.array([0])).shape[1:] == (2, 2)
    with pytest.raises(UnexplainedError, match="more than one place"):
        grad_cam(model, pixels(1, 1), np.array([0]))
