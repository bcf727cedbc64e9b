"""The check that an interrupted training continues as if it had not been interrupted."""

import torch

from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.training.fit import fit


def assert_resumed_equals_uninterrupted(config, data, folder):
    """Compare the metrics and the final state, to the bit, after a new start from the checkpoint of the first epoch."""
    uninterrupted = list(fit(config, data))
    first = next(fit(config, data))
    save_checkpoint(folder, Checkpoint(first.state, config, data.class_names, data.pixel_format, {}))
    torch.manual_seed(12345)  # a new process has another random state
    loaded = load_checkpoint(folder)
    assert loaded.config == config
    resumed = list(fit(loaded.config, data, loaded.state))

    assert resumed
    assert [(each.epoch, each.metrics) for each in resumed] == [
        (each.epoch, each.metrics) for each in uninterrupted[1:]
    ]
    final, expected = resumed[-1].state, uninterrupted[-1].state
    assert final.scaler == expected.scaler
    assert final.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(final.tensors[name], expected.tensors[name]) for name in expected.tensors)
