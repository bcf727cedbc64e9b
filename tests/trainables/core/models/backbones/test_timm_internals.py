"""The undocumented parts of timm that timm_internals.py uses, against the installed version."""

import importlib
import inspect

import pytest
import timm
import torch

REMEDY = f"timm {timm.__version__} has changed: adapt trainables/core/models/backbones/timm_internals.py"


def test_grouping_of_tensors() -> None:
    manipulate = importlib.import_module("timm.models._manipulate")
    assert hasattr(manipulate, "group_with_matcher"), f"no timm.models._manipulate.group_with_matcher; {REMEDY}"
    parameters = list(inspect.signature(manipulate.group_with_matcher).parameters)
    assert parameters[:2] == ["named_objects", "group_matcher"] and "reverse" in parameters, (
        f"other arguments of group_with_matcher: {parameters}; {REMEDY}"
    )
    with torch.device("meta"):
        model = timm.create_model("regnetx_002")
    assert hasattr(model, "group_matcher"), f"no RegNet.group_matcher; {REMEDY}"


@pytest.mark.parametrize("module", ["vision_transformer", "swin_transformer"])
def test_resampling_of_weights(module: str) -> None:
    found = importlib.import_module(f"timm.models.{module}")
    assert hasattr(found, "checkpoint_filter_fn"), f"no timm.models.{module}.checkpoint_filter_fn; {REMEDY}"
    parameters = list(inspect.signature(found.checkpoint_filter_fn).parameters)
    assert parameters[:2] == ["state_dict", "model"], f"other arguments of checkpoint_filter_fn: {parameters}; {REMEDY}"


@pytest.mark.parametrize(
    "name", ["patch_embed", "_pos_embed", "patch_drop", "norm_pre", "blocks", "norm", "forward_head", "fc_norm", "head"]
)
def test_parts_of_a_vision_transformer(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224")
    assert hasattr(model, name), f"no VisionTransformer.{name}; {REMEDY}"
