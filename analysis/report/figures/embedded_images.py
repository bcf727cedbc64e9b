"""Scatter plots of images whose features were embedded in a plane."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.report.figures.style import COLOURS, FAINT, colour, escaped


@dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """Images in a plane.

    Attributes:
        points: (n, 2) coordinates.
        labels: (n,) classes.
        splits: (n,) ``test``, or the name of the split used for training.
        correct: (n,) bool, True where the model's prediction is correct.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    correct: NDArray[np.bool_]


def scatter_by_class(images: EmbeddedImages, class_names: Sequence[str]) -> go.Figure:
    """Draw images as points coloured by class, filled for ``test`` and open for training."""
    figure = go.Figure()
    for index in np.unique(images.labels).tolist():
        for split in np.unique(images.splits).tolist():
            chosen = (images.labels == index) & (images.splits == split)
            _add_points(figure, images.points[chosen], f"{escaped(class_names[index])}, {split}", colour(index), split)
    return _without_axes(figure)


def scatter_by_mistake(images: EmbeddedImages, class_names: Sequence[str]) -> go.Figure:
    """Draw images as points coloured by whether the model's prediction is correct."""
    figure = go.Figure()
    for correct, name, shade in ((True, "correct", FAINT), (False, "wrong", COLOURS[1])):
        for split in np.unique(images.splits).tolist():
            chosen = (images.correct == correct) & (images.splits == split)
            names = [escaped(class_names[label]) for label in images.labels[chosen]]
            _add_points(figure, images.points[chosen], f"{name}, {split} ({chosen.sum()})", shade, split, names)
    return _without_axes(figure)


def _add_points(
    figure: go.Figure,
    points: NDArray[np.float64],
    name: str,
    shade: str,
    split: str,
    texts: Sequence[str] | None = None,
) -> None:
    if len(points):
        symbol = "circle" if split == "test" else "circle-open"
        marker = {"color": shade, "size": 6, "symbol": symbol, "opacity": 0.75}
        figure.add_scatter(
            x=points[:, 0], y=points[:, 1], mode="markers", name=name, marker=marker, text=texts, hoverinfo="name+text"
        )


def _without_axes(figure: go.Figure) -> go.Figure:
    figure.update_layout(height=560, legend={"orientation": "h", "y": -0.05})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure
