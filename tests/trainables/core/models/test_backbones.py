"""Backbones against the libraries' own models, to the bit."""

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model

from trainables.core.errors import ConfigError, WeightsError
from trainables.core.models.backbones import Backbone, build_backbone, check_weights, stage_count
from trainables.core.models.grouping import WholeModel

SIZE = 32  # small enough for most operations to stay on one thread
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
FIXED_SIZE = ("vit_", "swin_", "deit_", "pit_")
SMALL = "mobilenetv3_small_050"
DATA = Path(os.environ.get("TUNE_RUN_DATA", Path(__file__).parents[5] / "shared" / "data"))


def images(batch: int = 4, size: int = SIZE) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def seeded(build: Callable[[], Any]) -> Any:
    torch.manual_seed(7)
    return build()


def backbone_of(name: str, weights: str = "random") -> Backbone:
    backbone: Backbone = seeded(lambda: build_backbone(name, weights, SIZE))
    return backbone


def timm_original(name: str, **options: Any) -> nn.Module:
    size = {"img_size": SIZE} if name.startswith(FIXED_SIZE) else {}
    model: nn.Module = timm.create_model(name, num_classes=0, **size, **options)
    return model


class PlainCnn(nn.Module):
    """scratch_cnn written once more, in functions."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((3, 32), (32, 64), (64, 128), (128, 256))
        self.layers = nn.ModuleList(
            layer for i, o in widths for layer in (nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o))
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2, ceil_mode=True)
        return x.mean((2, 3))


def library_model(name: str) -> nn.Module:
    """The whole architecture, classifier included, at its native size."""
    short = name.removeprefix("torchvision:")
    model: nn.Module = timm.create_model(name) if short == name else get_model(short, weights=None)
    return model


def without_last_layer(name: str, model: Any) -> nn.Module:
    """A torchvision model up to what its classifier gets."""
    if "squeezenet" in name:
        return nn.Sequential(model.features, model.classifier[0], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    last = "fc" if "resnet" in name else "classifier"
    if last == "classifier" and isinstance(model.classifier, nn.Sequential):
        last = f"classifier.{len(model.classifier) - 1}"
    model.set_submodule(last, nn.Identity())
    return model


def original_of(name: str) -> nn.Module:
    if name == "scratch_cnn":
        return PlainCnn()
    if name.startswith("torchvision:"):
        return without_last_layer(name, library_model(name))
    return timm_original(name)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    # not state_dict: it leaves the buffers out that are not saved
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in snapshot(module).items() if not torch.equal(tensor, before[name])}


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


# --- weights from a folder --------------------------------------------------------------------------------------------


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
    """The transformers are saved at 224 pixels and run at 32."""
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


def test_scratch_cnn_loads_its_file_and_needs_none(tmp_path: Path) -> None:
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


# --- names, sizes and downloads ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "torchvision:resnet18"])
def test_no_hub_is_one_line_with_the_way_out(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*arguments: Any, **options: Any) -> None:
        raise URLError("no route\nto host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", unreachable)
    check_weights(name, "pretrained")  # asks no hub
    with pytest.raises(WeightsError) as raised:
        build_backbone(name, "pretrained", SIZE)
    file = f"{name.removeprefix('torchvision:')}.safetensors"
    assert str(raised.value).startswith(f"{name}: no hub reached (<urlopen error no route")
    assert str(raised.value).endswith(f"; put {file} in a folder and pass `--weights DIR`, or `--weights random`")
    assert "\n" not in str(raised.value)


def test_pretrained_weights_that_do_not_exist_are_known_without_a_hub() -> None:
    with pytest.raises(
        WeightsError, match=r"^timm has no pretrained weights for seresnet18: put seresnet18\.safetensors"
    ):
        check_weights("seresnet18", "pretrained")
