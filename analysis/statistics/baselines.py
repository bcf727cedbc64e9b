"""Two baselines that know nothing of medicine, scored on the same test images as the model.

A model that is no better than them has learned nothing, or the test images are copies of the training images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.resampling import GROUPS_FOR_TEST, Probabilities, Sample, permutation_test
from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.images import SIDE
from trainables.core.data.labels import membership
from trainables.core.data.splits.nearest_neighbours import nearest_neighbours
from trainables.core.metric_names import is_better

MAJORITY = "majority class"
NEIGHBOUR = "nearest neighbour of raw pixels"
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Baseline:
    """A baseline on ``test``.

    Attributes:
        name: ``MAJORITY`` or ``NEIGHBOUR``.
        score: The metric.
        interval: Its 95% interval; None if undefined, and for ``MAJORITY``, whose answer is always the same.
        p_value: ``permutation_test`` of the model against it; None with too few groups, or if the metric is undefined.
        groups: Number of groups that were tested.
        beaten: True if the model is better, False if it is worse, None if the difference may be chance.
    """

    name: str
    score: float
    interval: tuple[float, float] | None
    p_value: float | None
    groups: int
    beaten: bool | None


def baseline_predictions(data: Dataset) -> dict[str, Probabilities]:
    """Predict ``test`` from all other images: (n, C) probabilities of each baseline.

    The majority class gives all images the shares of the classes. The nearest neighbour gives each image the label of
    the one whose pixels correlate most with it; half of its probability goes to the shares, so that its log loss is
    finite.
    """
    test = data.splits["test"]
    others = np.unique(np.concatenate([rows for name, rows in data.splits.items() if name != "test"]))
    has = membership(data.labels, len(data.class_names)).astype(np.float64)
    shares = np.tile(has[others].mean(axis=0), (len(test), 1))
    nearest = nearest_neighbours(data.uncropped().images(SIDE), test, others)[0]
    return {MAJORITY: shares, NEIGHBOUR: (has[nearest] + shares) / 2}


def compared_with_baselines(
    model: Probabilities, baselines: dict[str, Probabilities], sample: Sample
) -> tuple[Baseline, ...]:
    """Score baselines by the sample's metric and test the model against each.

    Args:
        model: (n, C) probabilities of the model.
        baselines: (n, C) probabilities by name.
        sample: The n images.
    """
    return tuple(_compared(name, model, predicted, sample) for name, predicted in baselines.items())


def _compared(name: str, model: Probabilities, predicted: Probabilities, sample: Sample) -> Baseline:
    (ours, theirs), level = sample.at_level_of_metric([model, predicted])
    score, p_value = level.score(theirs), permutation_test(ours, theirs, level)
    beaten = None
    if p_value is not None and p_value < _SIGNIFICANT:
        beaten = is_better(level.metric, level.score(ours), score)
    interval = None if name == MAJORITY else intervals(theirs, level).get(level.metric)
    return Baseline(name, score, interval, p_value, len(level.members), beaten)


def verdict(baselines: Sequence[Baseline]) -> str:
    """Say in a sentence whether the model is better than the baselines."""
    kinds = {"better than": True, "worse than": False, "not shown to be better than": None}
    parts = []
    for words, beaten in kinds.items():
        names = [f"the {one.name}{_p_value(one)}" for one in baselines if one.beaten is beaten]
        if names:
            parts.append(f"{words} {' and '.join(names)}")
    return f"The model is {', but '.join(parts)} (paired permutation test over whole groups)."


def _p_value(baseline: Baseline) -> str:
    if baseline.p_value is not None:
        return f" (p = {baseline.p_value:.2g})"
    return (
        " (too few groups to test)" if baseline.groups < GROUPS_FOR_TEST else " (not tested: the metric is undefined)"
    )
