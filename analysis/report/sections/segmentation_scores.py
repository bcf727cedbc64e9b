"""Test scores of a segmentation: metrics, scores by class and by image, and the masks of the worst and best images."""

from functools import partial

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.ensembles.evaluation import Evaluation
from analysis.report.figures.style import COLOURS, draw_panel, whole_step
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.report.page import Block, Example, Gallery, Panel, Section, Table
from analysis.report.sections.model_comparison import metrics_table
from analysis.report.sections.wording import about_test, leak_warning, with_interval
from analysis.report.thumbnails import data_uri, with_mask_comparison
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL
from trainables.core.metric_names import METRICS
from trainables.core.plural import plural
from trainables.core.training.metrics.classification_metrics import class_keys

_BY_CLASS = ("dice", "iou", "dataset_dice", "dataset_iou")
_SHOWN = 6  # of the worst, and of the best
_SIDE = 224
_MOST_BARS = 40
_HALF_BAR = 0.01  # if all scores are equal


def segmentation_scores(search: SearchInputs, ensemble: EnsembleInputs) -> Section:
    """Show all scores on ``test``."""
    scores, groups = ensemble.evaluation.ensemble, ensemble.evaluation.groups
    per_image = dice_panel(scores.per_image, f"{plural(len(scores.per_image), 'image')} in {plural(groups, 'group')}.")
    patients = ensemble.evaluation.patients
    blocks: list[Block] = [
        metrics_table(ensemble),
        _class_table(search, ensemble.evaluation),
        *([_class_table(search, patients, "patient")] if patients else []),
        per_image,
    ]
    return Section("Test scores", "scores", blocks, about_test(search, ensemble), leak_warning(search))


def dice_panel(per_image: tuple[float, ...], caveat: str) -> Panel:
    """Draw a histogram of the Dice scores of images."""
    return draw_panel(
        "Dice by image",
        "How many test images reach which Dice score with the ensemble. A tail on the left means images on which the "
        "segmentation fails.",
        caveat,
        partial(_histogram, per_image),
    )


def worst_and_best(per_image: NDArray[np.float64], count: int = _SHOWN) -> NDArray[np.int64]:
    """Return the positions of the ``count`` lowest and the ``count`` highest scores, in ascending order of score."""
    order = np.argsort(per_image, kind="stable")
    return order if len(order) <= 2 * count else np.concatenate([order[:count], order[-count:]])


def mask_overlays(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> Section:
    """Show the masks of the worst and the best test images."""
    how_to_read = (
        "Test images in ascending order of the ensemble's Dice score. Colours: correctly found (green), missed (blue), "
        "wrongly predicted (red)."
    )
    caveat = (
        "These are the extremes, not a representative sample. They were selected by their scores after the test set "
        "was opened, and no choice depends on them."
    )
    if inspection.masks is None or inspection.mask_positions is None:
        examples, missing = [], f"The masks are missing: {inspection.missing}."
    else:
        examples, missing = _examples(search, ensemble, inspection.mask_positions, inspection.masks), ""
    gallery = Gallery("", how_to_read, caveat, examples, missing)
    return Section("Worst and best", "overlays", [gallery], about_test(search, ensemble), leak_warning(search))


def _class_table(search: SearchInputs, evaluation: Evaluation, unit: str = "image") -> Table:
    names = search.data.class_names
    labels = {metric.name: metric.label for metric in METRICS}
    few = evaluation.groups < GROUPS_FOR_INTERVAL
    warning = f" With fewer than {GROUPS_FOR_INTERVAL} groups, there are no intervals." * few
    pooled = " The pixels of a patient's images are pooled first." * (unit == "patient")
    return Table(
        f"Scores by class{' and patient' if unit == 'patient' else ''}",
        f"Dice and IoU are means over {unit}s; if a class is neither present nor predicted in one, that counts as 1. "
        f"Dataset Dice and IoU pool the pixels of all {unit}s, so large regions weigh more.{pooled}{warning}",
        ("class", *(f"{labels[metric]} [95% interval]" for metric in _BY_CLASS)),
        [
            [name, *(with_interval(evaluation.ensemble, f"{metric}/{key}") for metric in _BY_CLASS)]
            for name, key in zip(names, class_keys(names), strict=True)
        ],
        wrapped=True,
    )


def _examples(
    search: SearchInputs, ensemble: EnsembleInputs, positions: NDArray[np.int64], masks: NDArray[np.uint8]
) -> list[Example]:
    data, size = search.data, masks.shape[1]
    images, truths, test = data.images(size), data.masks(size), data.splits["test"]
    per_image = ensemble.evaluation.ensemble.per_image
    examples = []
    for position, mask in zip(positions.tolist(), masks, strict=True):
        index = int(test[position])
        lines = [f"Dice {per_image[position]:.3f}"]
        if len(search.file_names):
            lines.append(search.file_names[index])
        pictures = [
            (data_uri(images[index], _SIDE), "test image"),
            (data_uri(with_mask_comparison(images[index], truths[index], mask), _SIDE), "true and predicted masks"),
        ]
        examples.append(Example(pictures, lines))
    return examples


def _histogram(per_image: tuple[float, ...]) -> go.Figure:
    lowest, highest = min(per_image), max(per_image)
    if lowest == highest:  # NumPy's bin would reach from 0.5 below to 0.5 above
        lowest, highest = max(0.0, lowest - _HALF_BAR), min(1.0, highest + _HALF_BAR)
    edges = np.histogram_bin_edges(per_image, bins="auto", range=(lowest, highest))
    bins = min(len(edges) - 1, _MOST_BARS)
    counts, edges = np.histogram(per_image, bins=bins, range=(lowest, highest))
    bars = go.Bar(x=edges[:-1], y=counts, width=np.diff(edges), offset=0, marker_color=COLOURS[0])
    figure = go.Figure(bars)
    figure.update_layout(xaxis_title="Dice", yaxis_title="images", height=320, showlegend=False)
    figure.update_yaxes(dtick=whole_step(int(counts.max())))
    return figure
