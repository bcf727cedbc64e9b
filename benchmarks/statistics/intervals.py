"""Coverage of the 95% intervals that we print, where the truth is known.

Each simulated test set has 10, 20 or 50 groups of each class and 5 images of each group, whose logits correlate by 0.5.
The model is mediocre or nearly perfect, for two classes or for three grades; others predict labels and masks. The share
of test sets whose interval holds the score on 20,000 groups of each class must be at least 93%.

Takes 30 minutes of one CPU core.
"""

import argparse
import itertools

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from threadpoolctl import threadpool_limits

from analysis.ensembles.tasks.label_samples import LabelSample
from analysis.ensembles.tasks.segmentation import MaskSample
from analysis.statistics.calibration import brier_scores
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.resampling import Sample
from benchmarks.record import at_least, record

GROUPS, REPETITIONS = (10, 20, 50), 600
IMAGES, CORRELATION = 5, 0.5  # of a group
TRUTH = 20_000  # groups of each class
RESAMPLES = 300
GOAL = 0.93
CLASSES = ("healthy", "ill", "worse")

Predictions = NDArray[np.float64]


def main() -> None:
    """Simulate, and record the lowest coverage of each score over the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="simulated test sets of each kind")
    repetitions = parser.parse_args().repetitions
    cells = list(itertools.product(MODELS, GROUPS))
    with threadpool_limits(1):
        by_cell = {cell: coverage(*cell, repetitions) for cell in track(cells)}
    rows = []
    names = dict.fromkeys(name for covered in by_cell.values() for name in covered)
    for name, groups in itertools.product(names, GROUPS):
        lowest = min(covered[name] for (_, size), covered in by_cell.items() if size == groups and name in covered)
        rows.append(at_least(f"{name}, {groups} groups a class", round(lowest, 3), GOAL))
    details = {f"{model}, {groups} groups a class": covered for (model, groups), covered in by_cell.items()}
    record("intervals", rows, {"repetitions": repetitions, "coverage": details})


def coverage(model: str, groups: int, repetitions: int) -> dict[str, float]:
    """Return the share of simulated test sets whose interval holds the truth, by score."""
    draw = MODELS[model]
    predictions, sample = draw(TRUTH, np.random.default_rng(0))
    truth = scores(predictions, sample)
    held: dict[str, list[bool]] = {}
    for seed in range(repetitions):
        predictions, sample = draw(groups, np.random.default_rng([groups, seed]))
        bounds = intervals(predictions, sample, brier(predictions, sample), RESAMPLES)
        for name in truth:
            low, high = bounds.get(name, (np.nan, np.nan))
            held.setdefault(name, []).append(low <= truth[name] <= high)
    return {name: float(np.mean(values)) for name, values in held.items()}


def scores(predictions: Predictions, sample: Sample) -> dict[str, float]:
    """Return all scores; of classes, those of the first one."""
    found = sample.scores(predictions) | {name: values.mean() for name, values in brier(predictions, sample).items()}
    first = sample.class_names[0]
    return {name: value for name, value in found.items() if name.partition("/")[2] in ("", first)}


def brier(predictions: Predictions, sample: Sample) -> dict[str, NDArray[np.float64]]:
    """Return the Brier scores of the images of a classification."""
    one_label = sample.labels.ndim == 1 and not isinstance(sample, MaskSample)
    return {"brier": brier_scores(predictions, sample.labels)} if one_label else {}


def classes(count: int, skill: float, groups: int, generator: np.random.Generator) -> tuple[Predictions, Sample]:
    """Draw predictions of images of one class each."""
    labels = np.repeat(np.arange(count), groups * IMAGES)
    logits = _noise((len(labels), count), generator) + skill * np.eye(count)[labels]
    odds = np.exp(logits)
    of_group = np.arange(len(labels)) // IMAGES
    sample = Sample(labels, of_group, CLASSES[:count], "accuracy", CLASSES[0], ordered=count > 2)
    return odds / odds.sum(axis=1, keepdims=True), sample


def labels(skill: float, groups: int, generator: np.random.Generator) -> tuple[Predictions, Sample]:
    """Draw predictions of two labels, of which each image of a group has both, one or neither."""
    of_group = np.arange(4 * groups // 2 * IMAGES) // IMAGES
    has = np.stack([of_group % 2, of_group // 2 % 2], axis=1)
    logits = _noise(has.shape, generator) + skill * (has - 0.5)
    return 1 / (1 + np.exp(-logits)), LabelSample(has, of_group, CLASSES[:2], "auroc")


def masks(skill: float, groups: int, generator: np.random.Generator) -> tuple[Predictions, Sample]:
    """Draw pixel counts of masks of one class."""
    of_group = np.arange(groups * IMAGES) // IMAGES
    shape = (len(of_group), 1)
    share = 1 / (1 + np.exp(-skill - _noise(shape, generator)))
    size = np.exp(6 + _noise(shape, generator))
    counts = np.concatenate([share * size, (1 - share) * size, (1 - share) * size], axis=1).round()
    return counts, MaskSample(np.zeros(len(of_group), dtype=np.int64), of_group, CLASSES[:1], "dice")


def _noise(shape: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float64]:
    shared = np.repeat(generator.normal(size=(-(-shape[0] // IMAGES), shape[1])), IMAGES, axis=0)[: shape[0]]
    return np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * generator.normal(size=shape)


MODELS = {
    "two classes, mediocre": lambda groups, generator: classes(2, 1.0, groups, generator),
    "two classes, nearly perfect": lambda groups, generator: classes(2, 3.0, groups, generator),
    "three grades, mediocre": lambda groups, generator: classes(3, 1.0, groups, generator),
    "three grades, nearly perfect": lambda groups, generator: classes(3, 3.0, groups, generator),
    "two labels": lambda groups, generator: labels(2.0, groups, generator),
    "masks": lambda groups, generator: masks(2.0, groups, generator),
}


if __name__ == "__main__":
    main()
