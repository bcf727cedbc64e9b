"""Stages against the libraries' own models, to the bit."""

import pytest
import torch

from tests.trainables.core.models.backbones.originals import CUT, FAMILIES, backbone_of, images, original_of, seeded
from trainables.core.models.backbones.backbone import build_backbone, stage_count
from trainables.core.models.backbones.parameter_groups import WholeModel


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_in_order_equal_the_original_to_the_bit(name: str) -> None:
    original, backbone = seeded(lambda: original_of(name)), backbone_of(name)
    for training in (False, True, False):  # the last time with the batch statistics of the training step
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


@pytest.mark.parametrize("size", [1, 7, 33])
def test_scratch_cnn_takes_any_size(size: int) -> None:
    backbone = build_backbone("scratch_cnn", "pretrained", size)  # has no pretrained weights, so it gets random ones
    assert backbone(images(2, size)).shape == (2, 256)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
