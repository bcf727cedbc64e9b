"""Figures of predictions: confusion, ROC, precision and recall, calibration, and features laid out in a plane."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from analysis.report.figures.trials import COLOURS, FAINT, SCALE, MissingError, colour, plain
from analysis.statistics.calibration import Bin
from analysis.statistics.resampling import Probabilities

_MOST_POINTS = 400  # of a curve


def confusion(counts: Mapping[str, Sequence[Sequence[int]]], class_names: Sequence[str]) -> go.Figure:
    """Confusion matrices, one at a time: shares of the true class as colours, counts as text.

    Args:
        counts: (C, C) counts by the name of whoever predicted, true classes in rows.
        class_names: C names.
    """
    figure, labels = go.Figure(), [plain(name, 20) for name in class_names]
    places = list(range(len(labels)))  # numbers: names that are cut short may be equal
    for position, matrix in enumerate(counts.values()):
        table = np.array(matrix)
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        figure.add_heatmap(
            z=share,
            x=places,
            y=places,
            text=[[str(count) for count in row] for row in table],
            texttemplate="%{text}",
            hovertemplate="true %{y}, predicted %{x}<br>%{text} images, %{z:.0%} of the class<extra></extra>",
            colorscale=SCALE,
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            visible=position == 0,
            showscale=False,
        )
    ticks = {"tickvals": places, "ticktext": labels, "showgrid": False, "zeroline": False}
    figure.update_xaxes(title={"text": "predicted", "standoff": 12}, **ticks)
    figure.update_yaxes(title={"text": "true", "standoff": 12}, autorange="reversed", **ticks)
    figure.update_layout(height=max(360, 140 + 44 * len(labels)))
    return _with_menu(figure, list(counts))


def roc(probabilities: Probabilities, labels: NDArray[np.int64], class_names: Sequence[str]) -> go.Figure:
    """Each class against the rest: the share of its images that is found, by the share of others taken for it."""
    figure = go.Figure()
    for index in _separable(labels, class_names):
        found, actual = probabilities[:, index], labels == index
        false, true, _ = roc_curve(actual, found)
        name = f"{plain(class_names[index])} (AUC {auc(false, true):.3f}, n = {actual.sum()})"
        kept = _thinned(len(false))
        figure.add_scatter(
            x=false[kept], y=true[kept], mode="lines", name=name, line={"color": colour(index), "shape": "linear"}
        )
    chance = {"dash": "dot", "color": FAINT}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=chance, name="chance", hoverinfo="skip")
    return _square(figure, "false positive rate", "true positive rate")


def precision_recall(probabilities: Probabilities, labels: NDArray[np.int64], class_names: Sequence[str]) -> go.Figure:
    """Each class against the rest: how many of the images taken for it are of it, by the share that is found."""
    figure = go.Figure()
    for index in _separable(labels, class_names):
        found, actual = probabilities[:, index], labels == index
        precision, recall, _ = precision_recall_curve(actual, found)
        name = f"{plain(class_names[index])} (AP {average_precision_score(actual, found):.3f}, n = {actual.sum()})"
        kept = _thinned(len(recall))
        line = {"color": colour(index), "shape": "hv"}
        figure.add_scatter(x=recall[kept], y=precision[kept], mode="lines", name=name, line=line)
        chance = {"dash": "dot", "color": colour(index), "width": 1}
        share = float(actual.mean())
        figure.add_scatter(
            x=[0, 1], y=[share, share], mode="lines", line=chance, showlegend=False, hoverinfo="skip", opacity=0.7
        )
    return _square(figure, "recall", "precision")


def calibration(bins: Mapping[str, Sequence[Bin]]) -> go.Figure:
    """Accuracy by confidence, a marker a bin whose area follows its images, for each model."""
    figure, most = go.Figure(), max(bin_.count for of_model in bins.values() for bin_ in of_model)
    for position, (name, of_model) in enumerate(bins.items()):
        figure.add_scatter(
            x=[bin_.confidence for bin_ in of_model],
            y=[bin_.accuracy for bin_ in of_model],
            mode="lines+markers",
            name=plain(name),
            line={"color": colour(position), "width": 1.5},
            marker={"size": [6 + 18 * np.sqrt(bin_.count / most) for bin_ in of_model], "opacity": 0.75},
            text=[f"{bin_.count} images" for bin_ in of_model],
            hovertemplate="%{text}: confidence %{x:.3f}, accuracy %{y:.3f}<extra></extra>",
        )
    exact = {"dash": "dot", "color": FAINT}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=exact, name="exact", hoverinfo="skip")
    return _square(figure, "confidence", "accuracy")


@dataclass(frozen=True)
class Placed:
    """Images in a plane.

    Attributes:
        points: (n, 2).
        labels: (n,) classes.
        splits: (n,) ``test``, or the split that was trained on.
        right: (n,) whether the model is right about it.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    right: NDArray[np.bool_]


def embedded_by_class(placed: Placed, class_names: Sequence[str]) -> go.Figure:
    """Images as points, coloured by class; filled where they are of ``test``."""
    figure = go.Figure()
    for index in np.unique(placed.labels).tolist():
        for split in np.unique(placed.splits).tolist():
            chosen = (placed.labels == index) & (placed.splits == split)
            _points(figure, placed.points[chosen], f"{plain(class_names[index])}, {split}", colour(index), split)
    return _plane(figure)


def embedded_by_mistake(placed: Placed, class_names: Sequence[str]) -> go.Figure:
    """The same points, coloured by whether the model is right about them."""
    figure = go.Figure()
    for right, name, shade in ((True, "right", FAINT), (False, "wrong", COLOURS[1])):
        for split in np.unique(placed.splits).tolist():
            chosen = (placed.right == right) & (placed.splits == split)
            names = [plain(class_names[label]) for label in placed.labels[chosen]]
            _points(figure, placed.points[chosen], f"{name}, {split} ({chosen.sum()})", shade, split, names)
    return _plane(figure)


def _points(
    figure: go.Figure,
    points: NDArray[np.float64],
    name: str,
    shade: str,
    split: str,
    texts: Sequence[str] | None = None,
) -> None:
    if len(points):
        marker = {
            "color": shade,
            "size": 6,
            "symbol": ("circle" if split == "test" else "circle-open"),
            "opacity": 0.75,
        }
        figure.add_scatter(
            x=points[:, 0], y=points[:, 1], mode="markers", name=name, marker=marker, text=texts, hoverinfo="name+text"
        )


def _plane(figure: go.Figure) -> go.Figure:
    figure.update_layout(height=560, legend={"orientation": "h", "y": -0.05})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _square(figure: go.Figure, across: str, up: str) -> go.Figure:
    figure.update_layout(height=520, legend={"orientation": "h", "y": -0.18})
    figure.update_xaxes(title=across, range=[-0.02, 1.02])
    figure.update_yaxes(title=up, range=[-0.02, 1.02])
    return figure


def _with_menu(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """A menu that shows one trace at a time."""
    if len(names) > 1:
        shown = [[other == name for other in names] for name in names]
        buttons = [
            {"label": plain(name), "method": "update", "args": [{"visible": visible}]}
            for name, visible in zip(names, shown, strict=True)
        ]
        place = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
        figure.update_layout(updatemenus=[{"buttons": buttons, **place}])
    return figure


def _separable(labels: NDArray[np.int64], class_names: Sequence[str]) -> list[int]:
    """The classes that occur, but are not all there is."""
    present = [index for index in range(len(class_names)) if 0 < (labels == index).sum() < len(labels)]
    if not present:
        raise MissingError("It needs images of two classes.")
    return present


def _thinned(count: int) -> NDArray[np.int64]:
    """The positions of a curve's points that are drawn, ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(np.int64))
