"""Training of the head before the backbone (LP-FT, Kumar et al. 2022)."""

import dataclasses

import pytest
import torch

from trainables.core.models.frozen_cache import Cost, FrozenCache
from trainables.core.training.fit import fit

BACKBONE = {"backbone": "mobilenetv3_small_050", "lr": 0.01}
STAGES = 7


@pytest.fixture
def data(small_data, tmp_path):
    """The small data set with fewer images and its own cache."""
    few = {"fit": small_data.splits["fit"][::3], "tune": small_data.splits["tune"][::2]}
    return dataclasses.replace(small_data, splits=small_data.splits | few, store=tmp_path / "store")


def copies(results):
    return [
        (result.metrics, {name: value.clone() for name, value in result.state.tensors.items()}) for result in results
    ]


def changed(before, after):
    """Return the numbers of the backbone's stages with a different tensor, and "head"."""
    different = [name for name in before if name.startswith("model.") and not torch.equal(before[name], after[name])]
    return {"head" if ".head." in name else int(name.split(".")[3]) for name in different}


def test_the_first_epochs_train_only_the_head(config, data):
    epochs = copies(fit(config(**BACKBONE, head_epochs=2, epochs=4, freeze_depth=2), data))
    tensors = [tensors for _, tensors in epochs]
    assert changed(tensors[0], tensors[1]) == {"head"}
    assert changed(tensors[1], tensors[2]) == {"head", *range(2, STAGES)}
    assert changed(tensors[2], tensors[3]) == {"head", *range(2, STAGES)}


def test_they_equal_a_training_with_all_stages_frozen(config, data):
    """With a constant rate, the first phase is a linear probe, to the last digit."""
    ours = copies(fit(config(**BACKBONE, head_epochs=2, epochs=3), data))
    probe = copies(fit(config(**BACKBONE, freeze_depth=STAGES, epochs=2), data))
    for (metrics, tensors), (expected, expected_tensors) in zip(ours, probe, strict=False):
        assert metrics == expected
        assert all(torch.equal(tensors[name], value) for name, value in expected_tensors.items())


@pytest.mark.parametrize("changes", [{}, {"augmentation": "flip"}, {"freeze_depth": 3}])
def test_frozen_outputs_are_cached_in_each_phase_and_change_nothing(config, data, monkeypatch, changes):
    # a small rate, so that rounding does not grow with the steps
    chosen = config(**BACKBONE | {"lr": 1e-4}, head_epochs=2, epochs=4, **changes)
    depths, table = [], FrozenCache.table

    def spy(cache, *arguments):
        depths.append(cache._model.backbone.frozen_depth)
        return table(cache, *arguments)

    monkeypatch.setattr(Cost, "pays", lambda cost, *arguments: cost.size > 0)
    monkeypatch.setattr(FrozenCache, "table", spy)
    ours = copies(fit(chosen, data))
    assert depths == [STAGES] * 2 + [3] * 2 * ("freeze_depth" in changes)
    monkeypatch.setattr(FrozenCache, "table", lambda *arguments: None)
    for (metrics, _), (expected, _) in zip(ours, copies(fit(chosen, data)), strict=True):
        for name in ("train/loss", "tune/loss"):
            assert metrics[name] == pytest.approx(expected[name], rel=1e-3)


@pytest.mark.parametrize("changes", [{"mixup_alpha": 0.4}, {"random_erasing": 0.5}])
def test_changed_images_are_not_cached_but_tune_is(config, data, monkeypatch, caplog, changes):
    monkeypatch.setattr(Cost, "pays", lambda cost, *arguments: cost.size > 0)
    calls, table = [], FrozenCache.table

    def spy(cache, indices, *arguments):
        calls.append(len(indices))
        return table(cache, indices, *arguments)

    monkeypatch.setattr(FrozenCache, "table", spy)
    with caplog.at_level("INFO", logger="trainables"):
        list(fit(config(**BACKBONE, freeze_depth=3, epochs=2, **changes), data))
    assert calls == [len(data.splits["tune"])]
    assert "the frozen stages are recomputed for every training image" in caplog.text
