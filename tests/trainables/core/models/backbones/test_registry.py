"""Names and image sizes that are refused, and randomness."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision.models
from torch import nn
from torchvision.models import get_model_weights, list_models

from tests.trainables.core.models.backbones.originals import SIZE, backbone_of, moved, snapshot
from trainables.core.errors import ConfigError, WeightsError
from trainables.core.models.backbones.backbone import build_backbone, check_weights, stage_count
from trainables.core.models.backbones.registry import normalisation


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18", "vit_tiny_patch16_224"])
def test_building_depends_only_on_the_random_state(name: str) -> None:
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


def test_torchvisions_models_have_the_normalisation_of_their_weights() -> None:
    names = list_models(module=torchvision.models)
    transforms = {name: get_model_weights(name).DEFAULT.transforms() for name in names}
    expected = {name: (tuple(transform.mean), tuple(transform.std)) for name, transform in transforms.items()}
    assert {name: normalisation(nn.Identity(), f"torchvision:{name}") for name in names} == expected
    assert expected["efficientnet_v2_l"][0] == (0.5, 0.5, 0.5)  # unlike most


def test_a_backbone_has_the_normalisation_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    transforms = SimpleNamespace(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    monkeypatch.setattr(get_model_weights("squeezenet1_1").DEFAULT.value, "transforms", lambda: transforms)
    backbone = backbone_of("torchvision:squeezenet1_1")
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


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
        ("mobilenetv5_300m_enc", "one feature vector per image, but mobilenetv5_300m_enc returns (1, 2048, 16, 16)"),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet:FutureWarning")
def test_names_that_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        build_backbone(name, "random", SIZE)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "size"), [("torchvision:vit_b_16", 64), ("densenet121", 8), ("resnet18", 0)])
def test_an_image_size_that_is_refused(name: str, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"^backbone {name} cannot take images of {size} x {size} pixels: .+$"):
        build_backbone(name, "random", size)
