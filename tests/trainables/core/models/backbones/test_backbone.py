"""Freezing stages of a backbone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.trainables.core.models.backbones.originals import FAMILIES, backbone_of, images, moved, snapshot
from trainables.core.errors import ConfigError
from trainables.core.models.backbones.backbone import Backbone

HEAVY = {"torchvision:convnext_tiny"}  # 28 million parameters: not trained here


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in HEAVY])
def test_each_depth_freezes_exactly_its_stages(name: str) -> None:
    backbone = backbone_of(name)
    classifier = nn.Linear(backbone.num_features, 3)
    for depth in range(backbone.depth + 1):
        backbone.freeze(depth)
        model = nn.Sequential(backbone, classifier).train()
        before = [snapshot(stage) for stage in backbone.stages]
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9, weight_decay=0.1)
        loss = F.cross_entropy(model(images()), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
        for number, (stage, old) in enumerate(zip(backbone.stages, before, strict=True)):
            if number < depth:
                assert not moved(old, stage)
                assert not any(module.training for module in stage.modules())
                assert not any(parameter.requires_grad for parameter in stage.parameters())
            else:
                assert moved(old, stage) & {key for key, _ in stage.named_parameters()}
                assert all(module.training for module in stage.modules())
        optimizer.zero_grad()  # sets gradients to None, so that the next depth's frozen parameters have none


@pytest.mark.parametrize("name", ["resnet18", "torchvision:densenet121", "vit_tiny_patch16_224"])
def test_frozen_stages_are_a_function_of_the_image_and_the_others_complete_them(name: str) -> None:
    backbone = backbone_of(name)
    for depth in range(backbone.depth + 1):
        backbone.freeze(depth)
        backbone.train()
        outputs = backbone.run_frozen(images().requires_grad_())
        assert outputs.requires_grad == (depth == 0)  # depth 0: the images themselves
        backbone.eval()
        before = outputs.detach().clone()
        assert torch.equal(backbone.run_trainable(outputs), backbone(images()))
        assert torch.equal(outputs, before)  # cached outputs are not modified
        one_by_one = torch.cat([backbone.run_frozen(image) for image in images().split(1)])
        torch.testing.assert_close(one_by_one, before, rtol=1e-4, atol=1e-4)


def test_with_all_stages_frozen_features_do_not_depend_on_the_mode() -> None:
    backbone = backbone_of("torchvision:squeezenet1_1")  # it has a dropout of 0.5 before its pooling
    backbone.freeze(backbone.depth)
    assert torch.equal(backbone.train()(images()), backbone.eval()(images()))


@pytest.mark.parametrize("depth", [-1, 6])
def test_a_freeze_depth_out_of_range_is_refused(depth: int) -> None:
    with pytest.raises(ConfigError, match=rf"^freeze depth must be in 0\.\.5 .*, but got {depth}$"):
        backbone_of("resnet18").freeze(depth)


def test_unfreezing_does_not_make_constants_trainable() -> None:
    stage = nn.Linear(3, 3)
    stage.bias.requires_grad_(False)
    backbone = Backbone([stage], 3, (0, 0, 0), (1, 1, 1))
    backbone.freeze(1)
    backbone.freeze(0)
    assert stage.weight.requires_grad and not stage.bias.requires_grad
