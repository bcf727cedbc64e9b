"""LoRA against a model whose weights are W + B A."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from trainables.core.errors import ConfigError
from trainables.core.models.backbones.backbone import build_backbone
from trainables.core.models.backbones.lora import LoraLinear, add_lora
from trainables.core.models.backbones.registry import can_have_lora
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, save_frozen
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.frozen_cache import FrozenCache
from trainables.core.models.networks.build import trained_network
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit

NAME, RANK = "test_vit", 3


def lora_layers(module):
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, LoraLinear)}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    torch.manual_seed(5)
    save_file(timm.create_model(NAME).state_dict(), tmp_path / f"{NAME}.safetensors")
    return str(tmp_path)


def test_it_begins_as_the_pretrained_model_to_the_bit(folder):
    images = torch.randn(2, 3, 160, 160)
    plain, adapted = (build_backbone(NAME, folder, 160, lora_rank=rank).eval() for rank in (0, RANK))
    assert len(lora_layers(adapted)) == 2 * len(timm.create_model(NAME).blocks)
    with torch.no_grad():
        assert torch.equal(plain(images), adapted(images))


def test_an_update_is_a_change_of_the_weights(folder):
    """The same network with W + B A in place of W."""
    images = torch.randn(2, 3, 160, 160)
    plain, adapted = (build_backbone(NAME, folder, 160, lora_rank=rank).eval() for rank in (0, RANK))
    with torch.no_grad():
        before = adapted(images)
        for name, layer in lora_layers(adapted).items():
            layer.lora_b.normal_(0, 0.1)
            plain.get_submodule(name).weight += layer.lora_b @ layer.lora_a
        torch.testing.assert_close(adapted(images), plain(images), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(adapted(images), before, atol=1e-2)


def test_only_updates_of_stages_that_are_not_frozen_are_trained(folder):
    backbone = build_backbone(NAME, folder, 160, lora_rank=RANK)
    for depth in (0, 2, backbone.depth, 1):
        backbone.freeze(depth)
        for name, parameter in backbone.named_parameters():
            expected = ".lora_" in name and int(name.split(".")[1]) >= depth
            assert parameter.requires_grad == expected


def test_a_fit_changes_the_updates_and_the_head_only(config, small_data, folder):
    chosen = config(backbone=NAME, weights=folder, lora_rank=RANK, lr=0.01, epochs=2, image_size=32, ema_decay=0.9)
    epochs = fit(chosen, small_data)
    before = {name: tensor.clone() for name, tensor in next(epochs).state.model_tensors().items()}
    state = next(epochs).state
    changed = {name for name, tensor in state.model_tensors().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if ".lora_" in name or name.startswith("head.")}
    averaged = {name.removeprefix("trained.") for name in state.tensors if name.startswith("trained.")}
    assert {name for name in averaged if name.startswith("backbone.")} == {name for name in before if ".lora_" in name}
    saved = Checkpoint(state, chosen, small_data.class_names, small_data.pixel_format, {})
    network = trained_network(saved, torch.device("cpu"))
    assert all(torch.equal(tensor, state.model_tensors()[name]) for name, tensor in network.state_dict().items())


def test_frozen_stages_are_computed_and_stored_once_for_all_seeds_and_without_lora(
    config, small_data, folder, tmp_path
):
    """Their updates change nothing, although half of each is random."""

    def frozen(seed, rank):
        chosen = config(backbone=NAME, weights=folder, freeze_depth=2, lora_rank=rank)
        torch.manual_seed(seed)
        model = build_classifier(chosen, 3)
        state = TrainState(1, {f"model.{name}": tensor for name, tensor in model.state_dict().items()}, {})
        part = save_frozen(tmp_path / f"frozen-{seed}", state, chosen.frozen)
        saved = Checkpoint(state, chosen, small_data.class_names, small_data.pixel_format, {})
        save_checkpoint(tmp_path / f"{seed}", saved, part)
        loaded = load_checkpoint(tmp_path / f"{seed}", tmp_path / "frozen-1").state.tensors
        assert loaded.keys() == state.tensors.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.tensors.items())
        return FrozenCache(model, chosen, small_data, torch.device("cpu"))._key, part

    assert frozen(1, rank=2) == frozen(2, rank=2) == frozen(3, rank=0)


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "torchvision:vit_b_16", "scratch_cnn"])
def test_other_models_are_refused(name):
    assert not can_have_lora(name)
    with pytest.raises(ConfigError, match=f"^lora_rank needs a vision transformer of timm, but {name} is not one"):
        build_backbone(name, "random", 224, lora_rank=4)


def test_vision_transformers_with_timms_attention_can_have_it():
    assert all(map(can_have_lora, [NAME, "deit_tiny_patch16_224", "vit_small_patch14_dinov2"]))
    assert not can_have_lora("vit_base_patch16_xp_224")  # has another attention


def test_a_rank_as_large_as_the_layers_is_refused():
    with pytest.raises(ConfigError, match="lora_rank must be less than the width of test_vit, 64, but got 64"):
        add_lora(timm.create_model(NAME), NAME, 64)
