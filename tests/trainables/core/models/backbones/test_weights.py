"""Weights from a folder, compared with the libraries' own loading, and errors without a hub."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import get_model

from tests.trainables.core.models.backbones.originals import (
    SIZE,
    backbone_of,
    images,
    library_model,
    moved,
    snapshot,
    timm_original,
    without_last_layer,
)
from trainables.core.errors import WeightsError
from trainables.core.models.backbones.backbone import build_backbone, check_weights

SMALL = "mobilenetv3_small_050"
DATA = Path(os.environ.get("TUNE_RUN_DATA", Path(__file__).parents[6] / "shared" / "data"))


def save(name: str, model: nn.Module, folder: Path, edit: Callable[[dict[str, Tensor]], Any] | None = None) -> Path:
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    if edit is not None:
        edit(tensors)
    file = folder / f"{name.removeprefix('torchvision:')}.safetensors"
    save_file(tensors, file)
    return file


@pytest.mark.parametrize(
    "name", ["resnet18", SMALL, "regnetx_002", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_a_folder_loads_as_timm_loads_it(name: str, tmp_path: Path) -> None:
    """Transformers are saved at 224 pixels and run at 32."""
    file = save(name, library_model(name), tmp_path)
    check_weights(name, str(tmp_path))
    source = {"file": str(file), "custom_load": False}
    expected = timm_original(name, pretrained=True, pretrained_cfg_overlay=source).eval()
    assert torch.equal(backbone_of(name, str(tmp_path)).eval()(images()), expected(images()))


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:squeezenet1_1", "torchvision:mnasnet0_5"])
@pytest.mark.parametrize("with_classifier", [True, False])
def test_a_folder_loads_torchvision_weights(name: str, with_classifier: bool, tmp_path: Path) -> None:
    def drop_classifier(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if not with_classifier and key.startswith(("fc.", "classifier."))]:
            del tensors[key]

    model = library_model(name)
    save(name, model, tmp_path, drop_classifier)
    expected = without_last_layer(name, model).eval()(images())
    assert torch.equal(backbone_of(name, str(tmp_path)).eval()(images()), expected)


def test_the_downloaded_squeezenet_gives_the_features_of_torchvision() -> None:
    folder = DATA / "weights"
    if not (folder / "squeezenet1_1.safetensors").is_file():
        pytest.skip(f"no squeezenet1_1.safetensors in {folder}; set TUNE_RUN_DATA to the folder that holds weights/")
    model = get_model("squeezenet1_1", weights=None).eval()
    model.load_state_dict(load_file(folder / "squeezenet1_1.safetensors"), strict=False)
    features = backbone_of("torchvision:squeezenet1_1", str(folder)).eval()(images())
    assert torch.equal(features, model.features(images()).mean((2, 3)))


def test_scratch_cnn_loads_its_file_if_there_is_one(tmp_path: Path) -> None:
    without = backbone_of("scratch_cnn", str(tmp_path))
    assert not moved(snapshot(without), backbone_of("scratch_cnn"))
    torch.manual_seed(8)
    other = build_backbone("scratch_cnn", "random", SIZE)
    save_file(
        {k.removeprefix("stages."): v for k, v in other.state_dict().items()}, tmp_path / "scratch_cnn.safetensors"
    )
    assert not moved(snapshot(other), backbone_of("scratch_cnn", str(tmp_path)))


EDITS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop("bn1.weight"), "key bn1.weight of mobilenetv3_small_050 is missing"),
    "unexpected": (
        lambda t: t.update(zzz=torch.zeros(1)),
        "unexpected key zzz, which mobilenetv3_small_050 does not have",
    ),
    "shape": (
        lambda t: t.update({"conv_stem.weight": torch.zeros(2, 3)}),
        "conv_stem.weight has shape (2, 3), but mobilenetv3_small_050 needs (16, 3, 3, 3)",
    ),
}


@pytest.mark.parametrize("use", [check_weights, lambda name, weights: build_backbone(name, weights, SIZE)])
@pytest.mark.parametrize("edit", EDITS)
def test_a_file_that_differs_is_refused(use: Callable[[str, str], Any], edit: str, tmp_path: Path) -> None:
    change, message = EDITS[edit]
    file = save(SMALL, library_model(SMALL), tmp_path, change)
    with pytest.raises(WeightsError) as raised:
        use(SMALL, str(tmp_path))
    assert str(raised.value) == f"{file}: {message}"


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    file = tmp_path / f"{SMALL}.safetensors"
    file.write_bytes(pickle.dumps({"conv_stem.weight": [1.0]}))
    with pytest.raises(WeightsError, match="is not a readable safetensors file") as raised:
        check_weights(SMALL, str(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "squeezenet1_1.safetensors").touch()
    message = (
        f"{tmp_path} has no resnet18.safetensors for backbone torchvision:resnet18; it has squeezenet1_1.safetensors: "
        "add the file, or choose by --backbone"
    )
    with pytest.raises(WeightsError) as raised:
        check_weights("torchvision:resnet18", str(tmp_path))
    assert str(raised.value) == message
    with pytest.raises(WeightsError, match=r"there is no folder 'nowhere'$"):
        check_weights("resnet18", "nowhere")


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "torchvision:resnet18"])
def test_without_a_hub_one_line_names_the_remedy(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*arguments: Any, **options: Any) -> None:
        raise URLError("no route\nto host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", unreachable)
    check_weights(name, "pretrained")  # without contacting a hub
    with pytest.raises(WeightsError) as raised:
        build_backbone(name, "pretrained", SIZE)
    file = f"{name.removeprefix('torchvision:')}.safetensors"
    assert str(raised.value).startswith(f"cannot download the weights of {name} (<urlopen error no route")
    assert str(raised.value).endswith(f": put {file} in a folder and pass `--weights DIR`, or `--weights random`")
    assert "\n" not in str(raised.value)


def test_missing_pretrained_weights_are_reported_without_a_hub() -> None:
    with pytest.raises(
        WeightsError, match=r"^timm has no pretrained weights for seresnet18: put seresnet18\.safetensors"
    ):
        check_weights("seresnet18", "pretrained")
