"""Scoring images on a Ray cluster with Ray Data: any node reads files, and each actor keeps the model loaded."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError

from trainables.core.data.readers.unlabelled import NamedImage, Part, read_part
from trainables.core.device import resolve_device
from trainables.core.errors import UserError
from trainables.core.serving.ensemble_files import open_ensemble, pack, unpack
from trainables.core.serving.score_images import BATCH, ScoredImage, score_images


class Scorer:
    """One actor of the pool, with the ensemble in its memory or on its GPU."""

    def __init__(self, files: Any):
        """Load the ensemble.

        Args:
            files: Object reference to the files that ``pack`` returned. The model's folder need not exist on this node.
        """
        with tempfile.TemporaryDirectory() as folder:
            unpack(ray.get(files), Path(folder))
            self._ensemble = open_ensemble(Path(folder), resolve_device("cuda" if ray.get_gpu_ids() else "cpu"))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score a table with the columns of ``NamedImage``: name, data and error."""
        images = [NamedImage(**row) for row in batch.to_pylist()]
        scored = score_images(self._ensemble, images)
        return pa.table(
            {
                "name": pa.array([row.name for row in scored], pa.string()),
                "error": pa.array([row.error for row in scored], pa.string()),
                "unlike": pa.array([row.unlike for row in scored], pa.string()),
                "answer": pa.array([row.answer for row in scored], pa.string()),
                "unlike_score": pa.array([row.unlike_score for row in scored], pa.float64()),
                "is_positive": pa.array([row.is_positive for row in scored], pa.bool_()),
                "prediction_set": pa.array([row.prediction_set for row in scored], pa.string()),
                "abstain": pa.array([row.abstain for row in scored], pa.bool_()),
                "undecided": pa.array([row.undecided for row in scored], pa.string()),
                "probabilities": pa.array(
                    [None if row.probabilities is None else row.probabilities.tolist() for row in scored],
                    pa.list_(pa.float32()),
                ),
            }
        )


def is_larger_than_this_process() -> bool:
    """Return True if the joined cluster has other nodes, or GPUs."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return len(nodes) > 1 or any(node["Resources"].get("GPU", 0) for node in nodes)


def score_on_cluster(folder: Path, parts: Sequence[Part]) -> Iterator[ScoredImage]:
    """Score all images of all parts in order.

    The pool grows to one actor per GPU, or to one per CPU except one that stays free for reading.

    Args:
        folder: Folder of the ensemble on this machine.
        parts: Parts whose paths exist on every node; images of missing files get an error.

    Raises:
        UserError: The workers failed repeatedly.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # otherwise it logs every stage
    gpus = int(ray.cluster_resources().get("GPU", 0))
    cpus = int(ray.cluster_resources().get("CPU", 1))
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = (
        ray.data.from_items([asdict(part) for part in parts])
        .flat_map(_read)
        .map_batches(
            Scorer,
            fn_constructor_args=(ray.put(pack(folder)),),
            batch_size=BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, gpus or cpus - 1)),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        .iter_rows()
    )
    try:
        for row in rows:
            probabilities = row["probabilities"]
            if probabilities is not None:
                probabilities = np.asarray(probabilities, dtype=np.float32)
            yield ScoredImage(**{**row, "probabilities": probabilities})
    except RayError as error:  # for example, a worker keeps dying or a GPU is too small
        (cause,) = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise UserError(f"the cluster could not score the images: {cause}") from error


def _read(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [vars(image) for image in read_part(Part(**row))]
