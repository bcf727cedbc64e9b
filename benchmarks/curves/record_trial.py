"""One trial in full, without pruning: what ``fit`` reports each epoch, its CPU seconds, and the scores of its best."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from trainables.core.config import HeadConfig, TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.errors import NonFiniteLossError, describe
from trainables.core.metric_names import is_better
from trainables.core.models.networks.build import build_network
from trainables.core.serving.predict_classes import predict_probabilities
from trainables.core.training.fit import fit
from trainables.core.training.metrics.classification_metrics import classification_metrics
from trainables.core.training.tasks.registry import build_task

METRIC = "balanced_accuracy"  # default objective of our classification spaces
CPU = torch.device("cpu")


def record_trial(config: TrainConfig, data: Dataset) -> dict[str, Any]:
    """Train in full on one CPU thread and return the curve.

    Seconds are CPU seconds of this process. The frozen stages' outputs are computed beforehand if no earlier trial has.

    Returns:
        ``epochs``: for each epoch ``epoch``, ``seconds`` and ``metrics``; the first one's seconds include the building
        of the network. ``improvements``: for each epoch whose ``tune`` score beats all earlier ones ``epoch`` and the
        metrics of its checkpoint on ``select`` and ``test``. ``cache_seconds``: cost of the frozen stages' outputs, or
        about 0 if they existed. ``failed``: None, or why the training failed, and ``failed_seconds``, the time of the
        epoch that failed.
    """
    record: dict[str, Any] = {"cache_seconds": _fill_cache(config, data), "epochs": [], "improvements": []}
    best: float | None = None
    score = _checkpoint_scorer(config, data)
    epochs = fit(config, data)
    while True:
        started = time.process_time()
        try:
            result = next(epochs, None)
        except NonFiniteLossError as error:
            return {**record, "failed": describe(error), "failed_seconds": _since(started)}
        if result is None:
            return {**record, "failed": None, "failed_seconds": 0.0}
        record["epochs"].append({"epoch": result.epoch, "seconds": _since(started), "metrics": _short(result.metrics)})
        value = result.metrics[f"tune/{METRIC}"]
        if is_better(METRIC, value, best):
            best = value
            record["improvements"].append({"epoch": result.epoch, **score(result.state.model_tensors())})


def _fill_cache(config: TrainConfig, data: Dataset) -> float:
    """Compute the outputs of the frozen stages, as the first trial with them does, and return the CPU seconds."""
    if not isinstance(config, HeadConfig) or not config.freeze_depth:
        return 0.0
    torch.manual_seed(config.seed)
    task = build_task(config, data, CPU)
    started = time.process_time()
    next(task.train_batches(1))
    next(task.tune_batches())
    return _since(started)


def _checkpoint_scorer(
    config: TrainConfig, data: Dataset
) -> Callable[[dict[str, torch.Tensor]], dict[str, dict[str, float]]]:
    """Return a function from a model's tensors to its metrics on ``select`` and ``test``."""
    network = build_network(dataclasses.replace(config, weights="random"), len(data.class_names))
    network.to(memory_format=torch.channels_last).eval()
    images = data.images(config.image_size)
    parts = {name: data.splits[name] for name in ("select", "test")}

    def score(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, float]]:
        network.load_state_dict(tensors)
        predicted = predict_probabilities(network, images, np.concatenate(list(parts.values())))
        scores, start = {}, 0
        for name, indices in parts.items():
            probabilities = predicted[start : start + len(indices)]
            start += len(indices)
            scores[name] = _short(classification_metrics(probabilities, data.labels[indices], data.class_names))
        return scores

    return score


def _since(started: float) -> float:
    return round(time.process_time() - started, 4)


def _short(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics with the digits that mean something."""
    return {name: round(value, 5) for name, value in metrics.items()}
