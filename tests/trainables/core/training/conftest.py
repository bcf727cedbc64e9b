from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file


@pytest.fixture
def pretrained(tmp_path: Path) -> str:
    """A folder with weights of ``mobilenetv3_small_050`` and ``test_vit``."""
    folder = tmp_path / "weights"
    folder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for name in ("mobilenetv3_small_050", "test_vit"):
            save_file(timm.create_model(name, num_classes=0).state_dict(), folder / f"{name}.safetensors")
    return str(folder)
