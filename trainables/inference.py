"""Scoring members of an ensemble: by Ray tasks, each with a trial's resources, or in the driver on a lone machine."""

from collections.abc import Sequence

import numpy as np
import ray
from numpy.typing import NDArray

from trainables.core.data.cache import Dataset
from trainables.core.device import resolve_device
from trainables.core.models.predict import predict_probabilities, trained_classifier
from trainables.trial import read_checkpoint


def infer(members: Sequence[str], data: Dataset, split: str, num_cpus: float, num_gpus: float) -> NDArray[np.float32]:
    """Probabilities of every member on a split, the members spread over the cluster where there is one.

    Args:
        members: Paths or URIs of M trial checkpoints.
        data: The data set.
        split: ``tune``, ``select`` or ``test``.
        num_cpus: Reserved for one member.
        num_gpus: Reserved for one member.

    Returns:
        (M, n, C) float32 for the n images of the split, in its order.
    """
    if (
        not num_gpus and len(ray.nodes()) == 1
    ):  # other processes would take longer to import torch than this one to score
        return np.stack([_score_member(member, data, split) for member in members])
    task = ray.remote(_score_member).options(num_cpus=num_cpus, num_gpus=num_gpus)
    shared = ray.put(data)
    return np.stack(ray.get([task.remote(member, shared, split) for member in members]))


def _score_member(member: str, data: Dataset, split: str) -> NDArray[np.float32]:
    device = resolve_device("cuda" if ray.get_gpu_ids() else "cpu")
    checkpoint = read_checkpoint(member)
    model = trained_classifier(checkpoint, device)
    return predict_probabilities(model, data.images(checkpoint.config.image_size), data.splits[split])
