import pytest
import timm
import torch
from safetensors.torch import save_file

from trainables.core.config import TrainConfig
from trainables.core.errors import ConfigError, WeightsError
from trainables.core.models.networks.segmenter import (
    ARCHITECTURES,
    build_segmenter,
    check_segmenter,
    segmenter_parameter_count,
)

SMALL = "mobilenetv3_small_050"


def configured(**changes):
    base = {
        "task": "segmentation", "architecture": "linknet", "backbone": SMALL, "weights": "random", "image_size": 64,
        "optimizer": "adamw", "lr": 1e-3, "batch_size": 2, "epochs": 1,
    }  # fmt: skip
    return TrainConfig.from_dict(base | changes)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_an_encoder(architecture):
    backbone = "detr-tiny" if architecture == "detr" else SMALL
    check_segmenter(architecture, backbone, "random", 128)
    assert segmenter_parameter_count(architecture, backbone) > 100_000


@pytest.mark.parametrize(
    ("architecture", "backbone"), [("unet", SMALL), ("deeplabv3plus", SMALL), ("detr", "detr-tiny")]
)
def test_logits_have_the_images_size(architecture, backbone):
    model = build_segmenter(configured(architecture=architecture, backbone=backbone), 1).eval()
    pixels = torch.randint(0, 256, (1, 64, 64, 1), dtype=torch.uint8)
    with torch.no_grad():
        assert model(pixels).shape == (1, 1, 64, 64)
    assert segmenter_parameter_count(architecture, backbone) == sum(map(torch.numel, model.parameters()))


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_weights_of_a_folder_are_the_original_models(tmp_path, name):
    original = timm.create_model(name)
    save_file(original.state_dict(), tmp_path / f"{name}.safetensors")
    model = build_segmenter(configured(backbone=name, weights=str(tmp_path)), 1).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = original.eval().forward_intermediates(images, intermediates_only=True, norm=False)[-1]
        found = model.encoder(images)[-1]
    assert torch.allclose(found, expected, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=f"has no {SMALL}.safetensors"):
        check_segmenter("unet", SMALL, str(tmp_path), 64)
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / f"{SMALL}.safetensors")
    with pytest.raises(WeightsError, match="shape|missing"):
        check_segmenter("unet", SMALL, str(tmp_path), 64)


@pytest.mark.parametrize("name", ["scratch_cnn", "torchvision:resnet18"])
def test_an_encoder_that_is_not_timms_is_refused(name):
    with pytest.raises(WeightsError, match="must be a timm backbone"):
        check_segmenter("unet", name, "random", 64)


def test_unsuitable_sizes_and_encoders_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=f"linknet on {SMALL} cannot take images of 50 x 50 .*divisible by 32"):
        check_segmenter("linknet", SMALL, "random", 50)
    with pytest.raises(ConfigError, match="unet on vit_tiny_patch16_224 cannot take"):
        check_segmenter("unet", "vit_tiny_patch16_224", "random", 64)
