"""Backbones against the libraries' own models, to the bit."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from tests.trainables.core.models.backbones.originals import (
    SIZE,
    backbone_of,
    images,
    moved,
    original_of,
    seeded,
    snapshot,
)
from trainables.core.errors import ConfigError, WeightsError
from trainables.core.models.backbones.backbone import Backbone, build_backbone, check_weights, stage_count
from trainables.core.models.backbones.uncut import WholeModel

CUT = {
    "resnet18": 5,
    "densenet121": 5,
    "efficientnet_b0": 8,
    "mobilenetv3_small_050": 7,
    "convnext_atto": 5,
    "vit_tiny_patch16_224": 5,
    "torchvision:resnet18": 5,
    "torchvision:densenet121": 5,
    "torchvision:squeezenet1_1": 4,
    "torchvision:efficientnet_b0": 8,
    "torchvision:mobilenet_v3_small": 5,
    "torchvision:convnext_tiny": 5,
    "scratch_cnn": 4,
}
# A swin has window buffers, a GhostNet a head after the pooling, a distilled DeiT tokens of its own
# beside its modules, a PiT no grouping in timm.
GROUPED = {
    "swin_tiny_patch4_window7_224": 6,
    "regnetx_002": 5,
    "ghostnet_050": 11,
    "deit_tiny_distilled_patch16_224": 13,
    "pit_ti_224": 5,
    "torchvision:mnasnet0_5": 14,
}
HEAVY = {"torchvision:convnext_tiny"}  # 28 million parameters: not trained here
FAMILIES = CUT | GROUPED


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_in_order_equal_the_original_to_the_bit(name: str) -> None:
    original, backbone = seeded(lambda: original_of(name)), backbone_of(name)
    for training in (False, True, False):  # the last time with the statistics that training left
        expected = seeded(lambda training=training: original.train(training)(images()))
        x = seeded(images)
        backbone.train(training)
        torch.manual_seed(7)
        for stage in backbone.stages:
            x = stage(x)
        assert torch.equal(x, expected)
        if not training:
            assert torch.equal(backbone(images()), expected)
    assert x.shape == (4, backbone.num_features)
    assert x.std() > 0


@pytest.mark.parametrize(("name", "stages"), FAMILIES.items())
def test_stage_count_is_that_of_the_built_backbone(name: str, stages: int) -> None:
    backbone = backbone_of(name)
    assert stage_count(name) == backbone.depth == len(backbone.stages) == stages
    assert isinstance(backbone.stages[-1], WholeModel) == (name not in CUT)
    assert all(list(stage.parameters()) for stage in backbone.stages)


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
        optimizer.zero_grad()  # to None: the next depth's frozen parameters have no gradient left


@pytest.mark.parametrize("name", ["resnet18", "torchvision:densenet121", "vit_tiny_patch16_224"])
def test_prefix_is_a_function_of_the_image_and_rest_does_the_rest(name: str) -> None:
    backbone = backbone_of(name)
    for depth in range(backbone.depth + 1):
        backbone.freeze(depth)
        backbone.train()
        prefix = backbone.prefix(images().requires_grad_())
        assert prefix.requires_grad == (depth == 0)  # depth 0: the images themselves
        backbone.eval()
        kept = prefix.detach().clone()
        assert torch.equal(backbone.rest(prefix), backbone(images()))
        assert torch.equal(prefix, kept)  # what is cached is not written into
        alone = torch.cat([backbone.prefix(image) for image in images().split(1)])
        torch.testing.assert_close(alone, kept, rtol=1e-4, atol=1e-4)


def test_all_stages_frozen_give_a_fixed_vector_also_in_training() -> None:
    backbone = backbone_of("torchvision:squeezenet1_1")  # has a dropout of 0.5 before its pooling
    backbone.freeze(backbone.depth)
    assert torch.equal(backbone.train()(images()), backbone.eval()(images()))


@pytest.mark.parametrize("depth", [-1, 6])
def test_freeze_depth_out_of_range(depth: int) -> None:
    with pytest.raises(ConfigError, match=rf"^freeze depth must be within 0\.\.5, .* but got {depth}$"):
        backbone_of("resnet18").freeze(depth)


def test_unfreezing_leaves_constants_alone() -> None:
    stage = nn.Linear(3, 3)
    stage.bias.requires_grad_(False)
    backbone = Backbone([stage], 3, (0, 0, 0), (1, 1, 1))
    backbone.freeze(1)
    backbone.freeze(0)
    assert stage.weight.requires_grad and not stage.bias.requires_grad


@pytest.mark.parametrize("name", GROUPED)
def test_a_grouped_model_is_held_once_and_whole(name: str, tmp_path: Path) -> None:
    original, backbone = original_of(name), backbone_of(name).eval()
    save_file(backbone.state_dict(), tmp_path / "all.safetensors")  # refuses tensors that share memory
    for tensors_of in (nn.Module.parameters, nn.Module.buffers):
        assert sum(t.numel() for t in tensors_of(backbone)) == sum(t.numel() for t in tensors_of(original))
    torch.manual_seed(8)
    other = build_backbone(name, "random", SIZE).eval()
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other(images()), backbone(images()))
    converted = copy.deepcopy(backbone).double()  # moves every tensor, as .to(device) does
    assert converted(images().double()).dtype == torch.float64
    assert next(backbone.parameters()).dtype == torch.float32


@pytest.mark.parametrize("size", [1, 7, 33])
def test_scratch_cnn_takes_any_size(size: int) -> None:
    backbone = build_backbone("scratch_cnn", "pretrained", size)  # has none: random ones
    assert backbone(images(2, size)).shape == (2, 256)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18", "vit_tiny_patch16_224"])
def test_building_depends_on_the_random_state_alone(name: str) -> None:
    stage_count.cache_clear()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    stage_count(name)
    check_weights(name, "random")
    assert torch.equal(torch.get_rng_state(), state)
    first, second = backbone_of(name), backbone_of(name)
    assert not moved(snapshot(first), second)
    constants = (0.5, 0.5, 0.5) if name.startswith("vit") else (0.485, 0.456, 0.406)
    assert first.mean == constants


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "unknown backbone 'resnet81': did you mean resnet18, "),
        ("torchvision:resnet19", "did you mean torchvision:resnet18, "),
        ("resnet18.a1_in1", "did you mean resnet18.a1_in1k, "),
        ("../resnet18", "unknown backbone '../resnet18'"),
        ("torchvision:../weights/squeezenet1_1", "unknown backbone"),
        ("resnet18.x/../../resnet18", "unknown backbone"),
        ("local-dir:/etc", "unknown backbone"),
        ("torchvision:googlenet", "GoogLeNet trains with auxiliary outputs"),
        ("mobilenetv5_300m_enc", r"gives features of shape (1, 2048, 16, 16), not one pooled vector per image"),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet:FutureWarning")
def test_names_that_cannot_be_built(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        build_backbone(name, "random", SIZE)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "size"), [("torchvision:vit_b_16", 64), ("densenet121", 8), ("resnet18", 0)])
def test_a_size_that_the_backbone_cannot_take(name: str, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"^backbone {name} cannot take images of {size} x {size} pixels: .+$"):
        build_backbone(name, "random", size)
