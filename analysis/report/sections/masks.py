"""The parts of a report that tell of a segmentation's test scores: figures, and masks over images, worst and best."""

from functools import partial

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.report.figures.trials import COLOURS, panel
from analysis.report.inputs import Ensemble, Looked, Search
from analysis.report.page import Block, Gallery, Section, Shot, Table
from analysis.report.sections.scores import about_test, figures_table, with_interval
from analysis.report.sections.search import leaks
from analysis.report.thumbnails import inline, outlined
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL
from trainables.core.training.classification_metrics import class_keys

_BY_CLASS = ("dice", "iou", "dataset_dice", "dataset_iou")
_EACH = 6  # of the worst, and of the best
_SIDE = 224


def mask_scores(search: Search, ensemble: Ensemble) -> Section:
    """Overlaps, by class and by image, on ``test``."""
    scored = ensemble.evaluation
    few = f" Fewer than {GROUPS_FOR_INTERVAL} groups: no intervals." * (scored.groups < GROUPS_FOR_INTERVAL)
    names, keys = search.data.class_names, class_keys(search.data.class_names)
    by_class = Table(
        "By class",
        "Dice and IoU are means over images, where a class that is neither there nor found counts as 1; those of the "
        f"data set are of all pixels together, so that large regions count for more.{few}",
        ("class", *(name.replace("_", " ") for name in _BY_CLASS)),
        [
            [name, *(with_interval(scored.ensemble, f"{figure}/{key}") for figure in _BY_CLASS)]
            for name, key in zip(names, keys, strict=True)
        ],
    )
    spread = panel(
        "Dice by image",
        "How many test images have which Dice, by the ensemble: a tail on the left is what fails.",
        f"{len(scored.ensemble.per_image)} images in {scored.groups} groups.",
        partial(_histogram, scored.ensemble.per_image),
    )
    blocks: list[Block] = [figures_table(ensemble), by_class, spread]
    return Section("Test scores", "scores", blocks, about_test(search, ensemble), leaks(search))


def images_to_show(per_image: NDArray[np.float64], count: int = _EACH) -> NDArray[np.int64]:
    """Positions of the images with the lowest scores, lowest first, then of those with the highest, highest last."""
    order = np.argsort(per_image, kind="stable")
    return order if len(order) <= 2 * count else np.concatenate([order[:count], order[-count:]])


def overlays(search: Search, ensemble: Ensemble, looked: Looked) -> Section:
    """Masks over the worst and the best images."""
    reading = (
        "Test images by the ensemble's Dice, the worst first, and over each what is rightly found (green), missed "
        "(blue), and wrongly found (red)."
    )
    caveat = "Chosen by their scores after the opening, at both ends, so no sample; the images chose nothing."
    if looked.masks is None or looked.shown is None:
        shots, missing = [], f"There are no masks to show: {looked.why_none}."
    else:
        shots, missing = _shots(search, ensemble, looked.shown, looked.masks), ""
    gallery = Gallery("", reading, caveat, shots, missing)
    return Section("Worst and best", "overlays", [gallery], about_test(search, ensemble), leaks(search))


def _shots(search: Search, ensemble: Ensemble, shown: NDArray[np.int64], masks: NDArray[np.uint8]) -> list[Shot]:
    data, size = search.data, masks.shape[1]
    images, truths, test = data.images(size), data.masks(size), data.splits["test"]
    per_image = ensemble.evaluation.ensemble.per_image
    shots = []
    for position, mask in zip(shown.tolist(), masks, strict=True):
        index = int(test[position])
        lines = [f"Dice {per_image[position]:.3f}"]
        if len(search.names):
            lines.append(search.names[index])
        pictures = [
            (inline(images[index], _SIDE), "an image of test"),
            (inline(outlined(images[index], truths[index], mask), _SIDE), "the same with its masks compared"),
        ]
        shots.append(Shot(pictures, lines))
    return shots


def _histogram(per_image: tuple[float, ...]) -> go.Figure:
    figure = go.Figure(go.Histogram(x=per_image, nbinsx=40, marker_color=COLOURS[0]))
    figure.update_layout(xaxis_title="Dice", yaxis_title="images", height=320, showlegend=False)
    return figure
