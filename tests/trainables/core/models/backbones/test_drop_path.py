"""Stochastic depth as timm has it."""

import pytest
import timm
import torch
from timm.layers import DropPath

from trainables.core.errors import ConfigError
from trainables.core.models.backbones.backbone import build_backbone
from trainables.core.models.backbones.registry import has_drop_path


def rates(model):
    return [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224"])
def test_the_rates_are_timms(name):
    options = {"img_size": 32} if name.startswith("vit") else {}
    expected = rates(timm.create_model(name, num_classes=0, drop_path_rate=0.3, **options))
    backbone = build_backbone(name, "random", 32, drop_path_rate=0.3)
    ours = [rate for stage in backbone.stages for rate in rates(getattr(stage, "_unregistered", [stage])[0])]
    assert ours == expected and max(ours) == pytest.approx(0.3, abs=0.05)
    assert rates(build_backbone(name, "random", 32)) == []


def test_without_a_rate_the_architectures_own_is_kept():
    whole = build_backbone("swin_tiny_patch4_window7_224", "random", 224).stages[-1]._unregistered[0]
    assert max(rates(whole)) == pytest.approx(0.1)
    off = build_backbone("swin_tiny_patch4_window7_224", "random", 224, drop_path_rate=0.0).stages[-1]._unregistered[0]
    assert rates(off) == []


def test_it_drops_paths_in_training_only_and_never_in_frozen_stages():
    torch.manual_seed(0)
    backbone, images = build_backbone("resnet18", "random", 32, drop_path_rate=0.9), torch.randn(4, 3, 32, 32)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.1)
    with torch.no_grad():
        backbone.train()
        assert not torch.equal(backbone(images), backbone(images))
        backbone.eval()
        assert torch.equal(backbone(images), backbone(images))
        backbone.freeze(backbone.depth)
        backbone.train()
        assert torch.equal(backbone(images), backbone(images))


@pytest.mark.parametrize("name", ["scratch_cnn", "torchvision:convnext_tiny", "vgg11", "densenet121"])
def test_backbones_without_it_are_refused(name):
    assert not has_drop_path(name)
    with pytest.raises(
        ConfigError, match=f"^drop_path_rate needs a timm model with stochastic depth, but {name} is not one"
    ):
        build_backbone(name, "random", 32, drop_path_rate=0.1)
