import dataclasses
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trainables.core.errors import ConfigError
from trainables.core.training.imbalance import epoch_order
from trainables.core.training.tasks.classification import Classification

CPU = torch.device("cpu")
POLICIES = st.sampled_from(["none", "flip", "strong"])


def test_no_single_image_is_left_for_batch_norm(config, small_data):
    odd = dataclasses.replace(small_data, splits={**small_data.splits, "fit": small_data.splits["fit"][:33]})
    task = Classification(config(batch_size=16), odd, CPU)
    sizes = [len(targets) for _, targets in task.train_batches(1)]
    assert sizes == [16, 16]
    assert len(sizes) == task.batches_per_epoch


def parts(data, count, config):
    """The images of each optimizer step, and the sizes of its batches, if ``fit`` has ``count`` images."""
    few = dataclasses.replace(data, splits={**data.splits, "fit": data.splits["fit"][:count]})
    task = Classification(config, few, CPU)
    drawn = [inputs for inputs, _ in task.train_batches(2)]
    assert task.batch_weights(2).tolist() == [len(inputs) for inputs in drawn]
    firsts = range(0, task.batches_per_epoch, config.accumulate_steps)
    steps = [drawn[first : first + config.accumulate_steps] for first in firsts]
    return [torch.cat(step) for step in steps], [[len(inputs) for inputs in step] for step in steps]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(2, 40), whole=st.sampled_from([2, 4, 6, 16]), accumulated=st.integers(1, 3), policy=POLICIES)
@example(count=17, whole=16, accumulated=1, policy="none")
@example(count=21, whole=16, accumulated=1, policy="strong")
def test_half_a_batch_takes_the_same_steps(config, small_data, count, whole, accumulated, policy):
    chosen = config(batch_size=whole, accumulate_steps=accumulated, augmentation=policy)
    expected, _ = parts(small_data, count, chosen)
    while (chosen := chosen.with_half_batch()) is not None:
        steps, sizes = parts(small_data, count, chosen)
        assert all(map(torch.equal, steps, expected))
        assert len(steps) == len(expected)
        assert chosen.batch_size == 1 or 1 not in chain(*sizes)


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


@pytest.mark.parametrize("head", ["linear", "mlp", "residual", "attention"])
def test_the_ordinal_loss_is_weighted_by_class(config, small_data, head):
    grades = dataclasses.replace(small_data, ordered=True)
    task = Classification(config(loss="ordinal", class_weights="balanced", sampler="weighted", head=head), grades, CPU)
    inputs, targets = next(task.train_batches(1))
    outputs = task.forward(inputs)
    assert outputs.shape == (16, 3)
    counts = np.bincount(small_data.labels[small_data.splits["fit"]])
    weights = (counts.sum() / (3 * counts))[targets]
    likelihoods = outputs.softmax(dim=1).detach().numpy()[np.arange(16), targets]
    assert task.loss(outputs, targets).item() == pytest.approx(np.average(-np.log(likelihoods), weights=weights))


def test_the_ordinal_loss_needs_grades(config, small_data):
    message = "the loss ordinal needs grades, but few, many, some have no known order: set `ordered` in the space"
    with pytest.raises(ConfigError, match=message):
        Classification(config(loss="ordinal"), small_data, CPU)
