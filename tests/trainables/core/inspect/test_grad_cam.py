import numpy as np
import pytest
import torch
from torch import nn

from trainables.core.inspect.grad_cam import Question, UnexplainedError, grad_cam, look, penultimate
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
    """Grad-CAM by its definition: a forward pass of ``split`` = (module from pixels to maps, module from maps on)."""
    to_maps, onwards = split
    maps = to_maps(model.normalised(torch.from_numpy(image[None]))).detach().requires_grad_()
    model.head(onwards(maps.clone()))[0, label].backward()
    heat = torch.zeros(maps.shape[2:])
    for channel in range(maps.shape[1]):
        heat += maps.grad[0, channel].mean() * maps.detach()[0, channel]
    return (heat.clamp_min(0) / heat.clamp_min(0).max().clamp_min(1e-12)).numpy()


@pytest.mark.parametrize(
    ("name", "size", "tail"),
    [("scratch_cnn", 64, 2), ("torchvision:squeezenet1_1", 64, 3), ("resnet10t", 64, 2)],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_heat_maps_are_those_of_the_definition(name, size, tail, frozen):
    model = classifier(name, size)
    model.backbone.freeze(model.backbone.depth if frozen else 0)
    *first, last = model.backbone.stages
    split = nn.Sequential(*first, *list(last)[:-tail]), nn.Sequential(*list(last)[-tail:])
    images, labels = pixels(3, size), np.array([0, 2, 1])
    found = grad_cam(model, images, labels)
    assert all(parameter.grad is None for parameter in model.parameters())
    for image, label, heat in zip(images, labels, found, strict=True):
        np.testing.assert_allclose(heat, by_hand(model, split, image, label), atol=1e-4)
    assert found.max() == pytest.approx(1)


def test_a_transformers_tokens_are_laid_out_on_their_grid():
    model = classifier("vit_tiny_patch16_224", 64)
    images = pixels(2, 64)
    found = grad_cam(model, images, np.array([0, 1]))
    assert found.shape == (2, 4, 4)
    embedding, *middle, last = model.backbone.stages
    blocks = list(last)[:-1]
    # The class token alone goes on from the last block, so it is the tokens before that block that are explained.
    before = nn.Sequential(embedding, *middle, *blocks[:-1])(model.normalised(torch.from_numpy(images[:1])))
    tokens = before.detach().requires_grad_()
    model.head(list(last)[-1](blocks[-1](tokens)))[0, 0].backward()
    heat = (tokens.grad[0, 1:].mean(0) * tokens.detach()[0, 1:]).sum(1).clamp_min(0)
    np.testing.assert_allclose(found[0], (heat / heat.max()).reshape(4, 4).detach().numpy(), atol=1e-4)


def test_a_family_that_is_not_cut_says_so():
    with pytest.raises(UnexplainedError, match="not cut into stages"):
        grad_cam(classifier("regnetx_002", 32), pixels(1, 32), np.array([0]))


def test_a_map_of_one_place_is_none_and_an_earlier_one_is_taken():
    model = classifier("scratch_cnn", 32)
    assert grad_cam(model, pixels(1, 32), np.array([0])).shape[1:] == (2, 2)
    with pytest.raises(UnexplainedError, match="more than one place"):
        grad_cam(model, pixels(1, 1), np.array([0]))


def test_features_are_what_the_head_gets():
    model, images = classifier("scratch_cnn", 32), pixels(70, 32)
    chosen = np.array([69, 3, 3, *range(64)])
    got = []
    handle = model.head.register_forward_pre_hook(lambda _, inputs: got.append(inputs[0]))
    with torch.no_grad():
        logits = model(torch.from_numpy(images[chosen]))
    handle.remove()
    features, probabilities = penultimate(model, images, chosen)
    np.testing.assert_allclose(features, got[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(probabilities, logits.softmax(1).numpy(), atol=1e-5)
    assert penultimate(model, images, chosen[:0])[0].shape == (0, 256)
    in_no_time = penultimate(model, images, chosen, seconds=-1)
    np.testing.assert_allclose(in_no_time[0], features[:64], atol=1e-5)
    assert in_no_time[1].shape == (64, 3)


def test_a_look_says_why_there_are_no_maps():
    images, some = pixels(4, 32), np.array([0, 2])
    answer = look(classifier("regnetx_002", 32), images, Question(some, some, np.array([0, 1])))
    assert answer.maps is None
    assert "not cut into stages" in answer.why_no_maps
    assert answer.features.shape[0] == 2
    answer = look(classifier("scratch_cnn", 32), images, Question(some, some[:0], some[:0]))
    assert (answer.maps, answer.why_no_maps) == (None, "no image was chosen for one")
