"""Weights from a folder, compared with the libraries' own loading, and errors without a hub."""

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from tests.hub import StandIn
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
from trainables.core.hub.failures import HubError
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
        "add the file, or choose other backbones with --backbone"
    )
    with pytest.raises(WeightsError) as raised:
        check_weights("torchvision:resnet18", str(tmp_path))
    assert str(raised.value) == message
    with pytest.raises(WeightsError, match=r"there is no folder 'nowhere'$"):
        check_weights("resnet18", "nowhere")


@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_weights_of_the_hub_load_as_timm_loads_them_and_cached_ones_need_no_question(name: str, hub: StandIn) -> None:
    """The vision transformer is saved at 160 pixels and runs at 32."""
    save("model", library_model(name), folder_of(hub, name))
    built = build_backbone(name, "pretrained", 32)
    assert sum(line.startswith("GET") for line in hub.asked) == 1
    hub.asked.clear()
    again = build_backbone(name, "pretrained", 32)
    assert hub.asked == []
    size = {"img_size": 32} if name == "test_vit" else {}
    expected = timm.create_model(name, pretrained=True, num_classes=0, **size).eval()(images())  # asks the hub
    assert hub.asked != []
    assert torch.equal(built.eval()(images()), expected)
    assert torch.equal(again.eval()(images()), expected)


def folder_of(hub: StandIn, name: str) -> Path:
    folder = hub.root / "models" / timm.models.get_pretrained_cfg(name).hf_hub_id
    folder.mkdir(parents=True)
    return folder


def test_weights_of_the_hub_that_are_unreadable_are_refused(hub: StandIn) -> None:
    (folder_of(hub, "test_vit") / "model.safetensors").write_bytes(b"torn before it was uploaded")
    with pytest.raises(WeightsError, match=r"cannot load the weights of test_vit .*: put test_vit.safetensors in a"):
        build_backbone("test_vit", "pretrained", 32)


def test_weights_of_the_hub_for_another_architecture_are_refused(hub: StandIn) -> None:
    def drop(tensors: dict[str, Tensor]) -> None:
        del tensors["blocks.1.mlp.fc1.weight"]

    save("model", library_model("test_vit"), folder_of(hub, "test_vit"), drop)
    with pytest.raises(WeightsError, match=r"cannot load the weights of test_vit .*: put test_vit.safetensors in a"):
        build_backbone("test_vit", "pretrained", 32)


def test_torchvisions_weights_are_fetched_once_and_verified(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torchvision:squeezenet1_1"
    model, content = library_model(name), io.BytesIO()
    torch.save(model.state_dict(), content)
    file = hub.root / f"squeezenet-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth"
    file.parent.mkdir()
    file.write_bytes(content.getvalue())
    monkeypatch.setattr(get_model_weights("squeezenet1_1").DEFAULT.value, "url", f"{hub.address}/{file.name}")
    expected = without_last_layer(name, model).eval()(images())
    for _ in range(2):
        assert torch.equal(build_backbone(name, "pretrained", SIZE).eval()(images()), expected)
    assert hub.asked == [f"GET /{file.name}"]


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "gcvit_base", "torchvision:resnet18"])
def test_without_a_hub_one_line_names_the_remedy(name: str, monkeypatch: pytest.MonkeyPatch, hub: StandIn) -> None:
    """timm has the weights of gcvit_base on a server of its own."""
    monkeypatch.setenv("HTTPS_PROXY", hub.address)  # refuses every connection
    hub.fault = "server error"
    check_weights(name, "pretrained")  # without contacting a hub
    assert hub.asked == []
    with pytest.raises(HubError) as raised:
        build_backbone(name, "pretrained", 224)
    file = f"{name.removeprefix('torchvision:')}.safetensors"
    reason = (
        "has a server error"
        if name.startswith("resnet")
        else f"the proxy {hub.address} refuses a connection to https://"
    )
    assert str(raised.value).startswith(f"cannot download the weights of {name}: ")
    assert reason in str(raised.value)
    assert str(raised.value).endswith(f"; or put {file} in a folder and pass `--weights DIR`, or `--weights random`")
    assert "\n" not in str(raised.value)


def test_missing_pretrained_weights_are_reported_without_a_hub() -> None:
    with pytest.raises(
        WeightsError, match=r"^timm has no pretrained weights for seresnet18: put seresnet18\.safetensors"
    ):
        check_weights("seresnet18", "pretrained")
