"""Scoring members of an ensemble: by Ray tasks, each with a trial's resources, or in the driver on a lone machine."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.data.splits.folds import POOL
from trainables.core.device import resolve_device
from trainables.core.inspect.grad_cam import Answer, Question, look
from trainables.core.inspect.latency import Profile, profile
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.build import trained_network
from trainables.core.models.networks.classifier import Classifier
from trainables.core.models.networks.segmenter import Segmenter
from trainables.core.serving.predict_classes import averaged, predict_probabilities, trained_classifier
from trainables.core.serving.predict_masks import (
    MaskAnswer,
    MaskQuestion,
    count_pixels,
    look_at_masks,
    trained_segmenter,
)
from trainables.core.training.cross_validation import OutOfFold
from trainables.worker.checkpoint_io import read_models, read_out_of_fold

# What a member is asked beside its costs, and both answers.
Asked = Question | MaskQuestion | None
Examined = tuple[Profile, Answer | MaskAnswer | None]


def infer(
    data: Dataset, members: Sequence[str], split: str, *, bundle: Mapping[str, float], views: str = "none"
) -> NDArray[Any]:
    """Predictions of every member on a split, the members spread over the cluster where there is one.

    Args:
        data: The data set.
        members: Paths or URIs of M trial checkpoints. One of several models is their probabilities' mean.
        split: ``tune``, ``select`` or ``test``; or ``pool``, of which each model of a cross-validated trial predicts
            its own fold. What the trials stored of it is read.
        bundle: What is reserved for one member, by Ray's names.
        views: Of each image, a key of ``predict.VIEWS``.

    Returns:
        (M, n, C) float32 probabilities of the n images of the split, in its order. Of a segmentation the counts of
        ``count_pixels``, (2M - 1, n, 3C), by one worker in one pass over the images: masks are not kept.
    """
    stored = split == POOL and views == "none"
    if stored or (
        not bundle.get("GPU") and len(ray.nodes()) == 1
    ):  # others would take longer to import torch than this one
        if data.mask_format:
            return _count_members(members, data, split)
        return np.stack([_score_member(member, data, split, views) for member in members])
    shared = ray.put(data)
    if data.mask_format:
        counts: NDArray[np.float64] = ray.get(
            ray.remote(_count_members).options(**_reserving(bundle)).remote(members, shared, split)
        )
        return counts
    task = ray.remote(_score_member).options(**_reserving(bundle))
    return np.stack(ray.get([task.remote(member, shared, split, views) for member in members]))


def _reserving(bundle: Mapping[str, float]) -> dict[str, Any]:
    """The same as options of a task; CPUs and GPUs have names of their own there."""
    others = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
    return {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "resources": others}


def infer_here(data: Dataset, members: Sequence[str], split: str, *, views: str = "none") -> NDArray[Any]:
    """The same by this process alone, without a cluster; on a GPU where it has one."""
    if data.mask_format:
        return _count_members(members, data, split, "auto")
    return np.stack([_score_member(member, data, split, views, "auto") for member in members])


def _score_member(member: str, data: Dataset, split: str, views: str, device: str | None = None) -> NDArray[np.float32]:
    if split == POOL and views == "none":
        return read_out_of_fold(member).of(data.splits[POOL])
    resolved = resolve_device(device or ("cuda" if ray.get_gpu_ids() else "cpu"))

    def predicted(model: Checkpoint, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        images = data.images(model.config.image_size)
        return predict_probabilities(trained_classifier(model, resolved), images, indices, views=views)

    models = read_models(member)
    if split == POOL:
        folds = [OutOfFold(fold, predicted(model, fold)) for model, fold in zip(models, data.folds, strict=True)]
        return reduce(OutOfFold.joined, folds).of(data.splits[POOL])
    return averaged([predicted(model, data.splits[split]) for model in models])


def _count_members(members: Sequence[str], data: Dataset, split: str, device: str | None = None) -> NDArray[np.float64]:
    resolved = resolve_device(device or ("cuda" if ray.get_gpu_ids() else "cpu"))
    checkpoints = [model for member in members for model in read_models(member)]
    (size,) = {checkpoint.config.image_size for checkpoint in checkpoints}  # of a search they are all alike
    models = [trained_segmenter(checkpoint, resolved) for checkpoint in checkpoints]
    return count_pixels(models, data.images(size), data.masks(size), data.splits[split], len(data.class_names))


def examine(
    data: Dataset, members: Sequence[str], questions: Sequence[Asked], *, bundle: Mapping[str, float]
) -> list[Examined]:
    """What members cost and, where a question is asked of one, what it looks at; where ``infer`` would score them.

    Args:
        data: The data set.
        members: Paths or URIs of M trial checkpoints.
        questions: One a member, or None.
        bundle: What is reserved for one member, by Ray's names.
    """
    asked = list(zip(members, questions, strict=True))
    if not bundle.get("GPU") and len(ray.nodes()) == 1:
        return [_examine_member(member, data, question) for member, question in asked]
    task = ray.remote(_examine_member).options(**_reserving(bundle))
    shared = ray.put(data)
    answers: list[Examined] = ray.get([task.remote(member, shared, question) for member, question in asked])
    return answers


def examine_here(data: Dataset, members: Sequence[str], questions: Sequence[Asked]) -> list[Examined]:
    """The same by this process alone, without a cluster; on a GPU where it has one."""
    asked = zip(members, questions, strict=True)
    return [_examine_member(member, data, question, "auto") for member, question in asked]


def _examine_member(member: str, data: Dataset, question: Asked, device: str | None = None) -> Examined:
    device = device or ("cuda" if ray.get_gpu_ids() else "cpu")
    checkpoint = read_models(member)[0]  # of a cross-validated one the first, which stands for all
    model, images = trained_network(checkpoint, resolve_device(device)), data.images(checkpoint.config.image_size)
    costs = profile(model, images)
    if isinstance(question, MaskQuestion) and isinstance(model, Segmenter):
        return costs, look_at_masks(model, images, question)
    if isinstance(question, Question) and isinstance(model, Classifier):
        return costs, look(model, images, question)
    return costs, None
