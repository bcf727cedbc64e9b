"""Scoring members of an ensemble: by Ray tasks, each with a trial's resources, or in the driver on a lone machine."""

from collections.abc import Sequence

import numpy as np
import ray
from numpy.typing import NDArray

from trainables.core.data.cache import Dataset
from trainables.core.device import resolve_device
from trainables.core.models.predict import predict_probabilities, trained_classifier
from trainables.trial import read_checkpoint


def infer(
    data: Dataset, members: Sequence[str], split: str, *, num_cpus: float, num_gpus: float, views: str = "none"
) -> NDArray[np.float32]:
    """Probabilities of every member on a split, the members spread over the cluster where there is one.

    Args:
        data: The data set.
        members: Paths or URIs of M trial checkpoints.
        split: ``tune``, ``select`` or ``test``.
        num_cpus: Reserved for one member.
        num_gpus: Reserved for one member.
        views: Of each image, a key of ``predict.VIEWS``.

    Returns:
        (M, n, C) float32 for the n images of the split, in its order.
    """
    if (
        not num_gpus and len(ray.nodes()) == 1
    ):  # other processes would take longer to import torch than this one to score
        return np.stack([_score_member(member, data, split, views) for member in members])
    task = ray.remote(_score_member).options(num_cpus=num_cpus, num_gpus=num_gpus)
    shared = ray.put(data)
    return np.stack(ray.get([task.remote(member, shared, split, views) for member in members]))


def infer_here(data: Dataset, members: Sequence[str], split: str, *, views: str = "none") -> NDArray[np.float32]:
    """The same by this process alone, without a cluster; on a GPU where it has one."""
    return np.stack([_score_member(member, data, split, views, "auto") for member in members])


def _score_member(member: str, data: Dataset, split: str, views: str, device: str | None = None) -> NDArray[np.float32]:
    device = device or ("cuda" if ray.get_gpu_ids() else "cpu")
    checkpoint = read_checkpoint(member)
    model = trained_classifier(checkpoint, resolve_device(device))
    images = data.images(checkpoint.config.image_size)
    return predict_probabilities(model, images, data.splits[split], views=views)
