"""Models that are grouped instead of cut."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.trainables.core.models.backbones.originals import GROUPED, SIZE, backbone_of, images, original_of
from trainables.core.models.backbones.backbone import build_backbone


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
