"""Scoring and inspection of ensemble members, by Ray tasks or in the calling process.

Each Ray task reserves the resources of one trial. On a single machine without GPUs the calling process does the work:
starting a worker and importing torch there would take longer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.device import resolve_device
from trainables.core.inspect.explanation import Explanation, ExplanationRequest
from trainables.core.inspect.latency import Profile, profile
from trainables.core.models.networks.build import trained_network
from trainables.core.serving.predict_classes import extract_features
from trainables.core.serving.predict_masks import MaskRequest, PixelPredictions
from trainables.worker.checkpoint_io import read_models
from trainables.worker.member_scorers import MemberScorer, member_scorer, reads_stored_predictions

# A request to one member, or None to measure only its costs, and the result for one member.
MemberRequest = ExplanationRequest | MaskRequest | None
MemberResult = tuple[Profile, Explanation | PixelPredictions | None]


def infer(
    data: Dataset, members: Sequence[str], split: str, *, bundle: Mapping[str, float], views: str = "none"
) -> NDArray[Any]:
    """Predict a split with every member, on the cluster if there is one.

    Args:
        data: Data set of the split.
        members: Paths or URIs of M trial checkpoints. The models of a cross-validated trial are averaged.
        split: ``tune``, ``select`` or ``test``; or ``pool``, which each model of a cross-validated trial predicts on
            its own fold. The trials stored these predictions, so they are read if ``views`` is ``none``.
        bundle: Resources of one Ray task, by Ray's names.
        views: Key of ``predict_classes.VIEWS``.

    Returns:
        (M, n, C) float32 probabilities of the n images of the split, in its order. For a segmentation, the
        (2M - 1, n, 3C) counts of ``count_pixels``, since masks are too large to return.
    """
    scorer = member_scorer(data)
    groups = [[member] for member in members] if scorer.independent else [members]
    jobs = [(group, split, views) for group in groups]
    if reads_stored_predictions(split, views) or _runs_here(bundle):
        return np.concatenate([_score(scorer, *job) for job in jobs])
    return np.concatenate(_run_tasks(_score, scorer, jobs, bundle))


def infer_here(data: Dataset, members: Sequence[str], split: str, *, views: str = "none") -> NDArray[Any]:
    """Do the same as ``infer`` in this process, without Ray, on a GPU if this machine has one."""
    return member_scorer(data).score(members, split, views, resolve_device("auto"))


def examine(
    data: Dataset, members: Sequence[str], requests: Sequence[MemberRequest], *, bundle: Mapping[str, float]
) -> list[MemberResult]:
    """Measure every member's costs and run the request to it, on the cluster if there is one.

    Args:
        data: Data set of the requested images.
        members: Paths or URIs of M trial checkpoints.
        requests: One request per member, or None to measure only its costs.
        bundle: Resources of one Ray task, by Ray's names.
    """
    jobs = list(zip(members, requests, strict=True))
    if _runs_here(bundle):
        return [_examine(data, *job) for job in jobs]
    return _run_tasks(_examine, data, jobs, bundle)


def examine_here(data: Dataset, members: Sequence[str], requests: Sequence[MemberRequest]) -> list[MemberResult]:
    """Do the same as ``examine`` in this process, without Ray, on a GPU if this machine has one."""
    device = resolve_device("auto")
    return [_examine(data, member, request, device) for member, request in zip(members, requests, strict=True)]


def extract(
    data: Dataset, members: Sequence[str], images: NDArray[np.int64], *, bundle: Mapping[str, float]
) -> list[NDArray[np.float32]]:
    """Extract features of images by every member, on the cluster if there is one.

    Args:
        data: Data set of the images.
        members: Paths or URIs of M trial checkpoints. The first fold's model stands for the others.
        images: (n,) indices of the images.
        bundle: Resources of one Ray task, by Ray's names.

    Returns:
        (n, F) features by each member; F differs between networks.
    """
    jobs = [(member, images) for member in members]
    if _runs_here(bundle):
        return [_extract(data, *job) for job in jobs]
    return _run_tasks(_extract, data, jobs, bundle)


def extract_here(data: Dataset, members: Sequence[str], images: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Do the same as ``extract`` in this process, without Ray, on a GPU if this machine has one."""
    device = resolve_device("auto")
    return [_extract(data, member, images, device) for member in members]


def _score(scorer: MemberScorer, members: Sequence[str], split: str, views: str) -> NDArray[Any]:
    return scorer.score(members, split, views, _reserved_device())


def _examine(data: Dataset, member: str, request: MemberRequest, device: torch.device | None = None) -> MemberResult:
    checkpoint = read_models(member)[0]  # the first fold's model stands for the others
    model = trained_network(checkpoint, device or _reserved_device())
    images = data.images(checkpoint.config.image_size)
    return profile(model, images), request.run(model, images) if request else None


def _extract(
    data: Dataset, member: str, images: NDArray[np.int64], device: torch.device | None = None
) -> NDArray[np.float32]:
    checkpoint = read_models(member)[0]
    model = trained_network(checkpoint, device or _reserved_device())
    return extract_features(model, data.images(checkpoint.config.image_size), images)


def _runs_here(bundle: Mapping[str, float]) -> bool:
    return not bundle.get("GPU") and len(ray.nodes()) == 1


def _reserved_device() -> torch.device:
    """Return the GPU that Ray reserved for this process, else the CPU."""
    return resolve_device("cuda" if ray.get_gpu_ids() else "cpu")


def _run_tasks(
    function: Callable[..., Any], shared: Any, jobs: Sequence[tuple[Any, ...]], bundle: Mapping[str, float]
) -> list[Any]:
    """Return ``function(shared, *job)`` of every job, each computed by a Ray task of its own."""
    # Given to `ray.remote`, not to `.options`, a GPU lets each worker run one task only: then it frees the GPU.
    task, reference = ray.remote(**task_options(bundle))(function), ray.put(shared)
    results: list[Any] = ray.get([task.remote(reference, *job) for job in jobs])
    return results


def task_options(bundle: Mapping[str, float]) -> dict[str, Any]:
    """Convert a bundle to the options of a Ray task, which take CPUs and GPUs under names of their own."""
    resources = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
    return {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "resources": resources}
