"""Probe each backbone before any trial: ``python -m benchmarks.curves.ideas.probes``.

A probe is a logistic regression on the features of the whole frozen backbone. It is fitted on the ``fit`` images of a
data set of the large table, and scored on ``tune``. Its figure of merit is how well it ranks the backbones: it is
compared with the best recorded trial of each, and with the median one.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.curves.configurations import BACKBONES, SCRATCH, recipes
from benchmarks.curves.data_sets import DATA_SETS, IMAGE_SIZE, Scale, load_data_set
from benchmarks.curves.record import train_config
from benchmarks.curves.table import RecordedCurves, read_packed
from benchmarks.record import RESULTS, machine
from trainables.core.data.dataset import Dataset
from trainables.core.models.networks.build import build_network
from trainables.core.serving.predict_classes import predict_with_features

FILE = RESULTS / "curves_probes.json"
PROBED = [backbone for backbone in BACKBONES if backbone != SCRATCH]  # those with pretrained weights
NEIGHBOURS = 5


def read_probes(data_set: str) -> dict[str, dict[str, float]]:
    """Return the probes of a data set, by backbone."""
    probes: dict[str, dict[str, float]] = json.loads(FILE.read_text())["data_sets"][data_set]
    return probes


def probe(data: Dataset, backbone: str) -> dict[str, float]:
    """Return the balanced accuracies of a probe and of k-nearest neighbours on ``tune``, and their CPU seconds."""
    started = time.process_time()
    config = train_config({**recipes()["resnet50_mlp"], "backbone": backbone}, seed=0)
    network = build_network(config, len(data.class_names)).to(memory_format=torch.channels_last).eval()
    images = data.images(IMAGE_SIZE)
    fit, tune = (predict_with_features(network, images, data.splits[name])[1] for name in ("fit", "tune"))
    truth, expected = (data.labels[data.splits[name]] for name in ("fit", "tune"))
    scores = {}
    for name, classifier in {
        "tune": LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000),
        "neighbours": KNeighborsClassifier(NEIGHBOURS),
    }.items():
        fitted = make_pipeline(StandardScaler(), classifier).fit(fit, truth)
        scores[name] = float(balanced_accuracy_score(expected, fitted.predict(tune)))
    return {**scores, "seconds": round(time.process_time() - started, 2)}


def recorded_scores(recorded: RecordedCurves, backbone: str) -> dict[str, float]:
    """Return the best and the median score on ``tune`` of a backbone's recorded trials."""
    pairs = zip(recorded.params, recorded.curves, strict=True)
    scores = [curve.tune.max() for params, curve in pairs if params["backbone"] == backbone and len(curve.tune)]
    return {"best_trial": float(np.max(scores)), "median_trial": float(np.median(scores))}


def main(output: Annotated[Path, typer.Option(help="JSON file to write.")] = FILE) -> None:
    """Probe all backbones on all data sets."""
    torch.set_num_threads(1)
    table, probes = read_packed(Scale.LARGE), dict[str, Any]()
    for name in DATA_SETS:
        data = load_data_set(name, Scale.LARGE)
        probes[name] = {
            backbone: {**probe(data, backbone), **recorded_scores(table[name], backbone)} for backbone in PROBED
        }
        for backbone, row in probes[name].items():
            print(name, backbone, ", ".join(f"{key} {value:.3f}" for key, value in row.items()), flush=True)
    output.write_text(json.dumps({"machine": machine(), "data_sets": probes}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
