import dataclasses

import numpy as np
import pytest
import torch

from trainables.core.training.imbalance import epoch_order
from trainables.core.training.tasks.classification import Classification

CPU = torch.device("cpu")


def test_no_single_image_is_left_for_batch_norm(config, small_data):
    odd = dataclasses.replace(small_data, splits={**small_data.splits, "fit": small_data.splits["fit"][:33]})
    task = Classification(config(batch_size=16), odd, CPU)
    sizes = [len(targets) for _, targets in task.train_batches(1)]
    assert sizes == [16, 16]
    assert len(sizes) == task.batches_per_epoch


@pytest.mark.parametrize("augmentation", ["none", "flip", "strong"])
def test_batches_follow_the_sampler(config, small_data, augmentation):
    chosen = config(sampler="weighted", augmentation=augmentation, seed=5)
    task = Classification(chosen, small_data, CPU)
    batches = list(task.train_batches(2))
    drawn = torch.cat([targets for _, targets in batches]).numpy()
    fit_split = small_data.splits["fit"]
    expected = small_data.labels[fit_split[epoch_order("weighted", small_data.labels[fit_split], 5, 2)]]
    np.testing.assert_array_equal(drawn, expected[: len(drawn)])
    assert batches[0][0].shape == (16, 32, 32, 1)
    assert batches[0][0].dtype == torch.uint8
