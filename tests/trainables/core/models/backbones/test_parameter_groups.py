"""Models that are grouped instead of cut."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.trainables.core.models.backbones.originals import GROUPED, SIZE, backbone_of, images, original_of
from trainables.core.models.backbones.backbone import build_backbone
from trainables.core.models.backbones.parameter_groups import undecayed_parameters
from trainables.core.models.backbones.registry import create_model, on_meta_device


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPED)
def test_stages_hold_every_tensor_once_and_share_it_with_the_model(name: str, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("name", "undecayed"),
    [
        ("torchvision:vit_b_32", {"class_token", "encoder.pos_embedding"}),
        (
            "torchvision:swin_t",
            {
                f"features.{2 * i + 1}.{j}.attn.relative_position_bias_table"
                for i, n in enumerate((2, 2, 6, 2))
                for j in range(n)
            },
        ),
        ("torchvision:resnet18", set()),
    ],
)
def test_parameters_of_torchvision_without_weight_decay(name: str, undecayed: set[str]) -> None:
    model = on_meta_device(lambda: create_model(name, num_classes=0))
    found = undecayed_parameters(model)
    assert {name for name, parameter in model.named_parameters() if parameter in found} == undecayed
