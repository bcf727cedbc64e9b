"""Figures of class predictions: confusion matrix, ROC, precision and recall, calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from analysis.report.figures.style import FAINT, SCALE, NothingToDrawError, colour, escaped
from analysis.statistics.calibration import Bin
from analysis.statistics.resampling import Probabilities
from trainables.core.data.labels import membership
from trainables.core.plural import plural

_MOST_POINTS = 400  # per curve


def confusion(
    counts: Mapping[str, Sequence[Sequence[int]]], class_names: Sequence[str], unit: str = "image"
) -> go.Figure:
    """Draw confusion matrices with a menu to choose one: counts with their share of the true class.

    Args:
        counts: (C, C) counts of each model by its name, true classes in rows.
        class_names: C names.
        unit: Singular of the counted things.
    """
    figure, labels = go.Figure(), [escaped(name, 20) for name in class_names]
    places = list(range(len(labels)))  # numeric axes: shortened names may be equal
    for position, matrix in enumerate(counts.values()):
        table = np.array(matrix)
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        figure.add_heatmap(
            z=share,
            x=places,
            y=places,
            text=[
                [f"{count}<br>{part:.0%}" for count, part in zip(*row, strict=True)]
                for row in zip(table, share, strict=True)
            ],
            texttemplate="%{text}",
            hovertemplate=f"true %{{y}}, predicted %{{x}}<br>%{{customdata}} {unit}s (%{{z:.1%}})<extra></extra>",
            customdata=table,
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
    figure.update_layout(height=max(360, 140 + 52 * len(labels)))
    return _with_menu(figure, list(counts))


def roc(
    probabilities: Probabilities, labels: NDArray[np.int64], class_names: Sequence[str], healthy: str | None = None
) -> go.Figure:
    """Draw the ROC curve of each class against the rest, or of one of two classes, whose curves are mirror images.

    Args:
        probabilities: (n, C) probabilities.
        labels: (n,) classes, or (n, C) of 0 and 1.
        class_names: C names.
        healthy: Class without a disease, or None. Of two classes, the other one is drawn; without it, the second.
    """
    figure, has = go.Figure(), membership(labels, len(class_names))
    classes = _separable_classes(has)
    if labels.ndim == 1 and len(class_names) == 2:
        classes = [int(class_names[1] != healthy)]
    for index in classes:
        scores, positive = probabilities[:, index], has[:, index]
        false_positive_rate, true_positive_rate, _ = roc_curve(positive, scores)
        area = auc(false_positive_rate, true_positive_rate)
        drawn = _thinned(len(false_positive_rate))
        figure.add_scatter(
            x=false_positive_rate[drawn],
            y=true_positive_rate[drawn],
            mode="lines",
            name=f"{escaped(class_names[index])} (AUC {area:.3f}, n = {positive.sum()})",
            line={"color": colour(index), "shape": "linear"},
        )
    chance = {"dash": "dot", "color": FAINT}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=chance, name="chance", hoverinfo="skip")
    return _unit_square(figure, "false positive rate", "true positive rate")


def precision_recall(probabilities: Probabilities, labels: NDArray[np.int64], class_names: Sequence[str]) -> go.Figure:
    """Draw precision against recall of each class against the rest; arguments as for ``roc``."""
    figure, has = go.Figure(), membership(labels, len(class_names))
    for index in _separable_classes(has):
        scores, positive = probabilities[:, index], has[:, index]
        precision, recall, _ = precision_recall_curve(positive, scores)
        average_precision = average_precision_score(positive, scores)
        drawn = _thinned(len(recall))
        figure.add_scatter(
            x=recall[drawn],
            y=precision[drawn],
            mode="lines",
            name=f"{escaped(class_names[index])} (AP {average_precision:.3f}, n = {positive.sum()})",
            line={"color": colour(index), "shape": "hv"},
        )
        chance = {"dash": "dot", "color": colour(index), "width": 1}
        prevalence = float(positive.mean())
        figure.add_scatter(
            x=[0, 1],
            y=[prevalence, prevalence],
            mode="lines",
            line=chance,
            showlegend=False,
            hoverinfo="skip",
            opacity=0.7,
        )
    return _unit_square(figure, "recall", "precision")


def calibration(
    bins: Mapping[str, Sequence[Bin]], x_title: str = "confidence", y_title: str = "accuracy", noun: str = "image"
) -> go.Figure:
    """Draw accuracy against confidence for each model, one marker per bin, its area proportional to its count.

    Args:
        bins: Bins of each model by its name.
        x_title: Title of the x axis.
        y_title: Title of the y axis.
        noun: Singular of what the bins count.
    """
    figure, most = go.Figure(), max(bin_.count for of_model in bins.values() for bin_ in of_model)
    for position, (name, of_model) in enumerate(bins.items()):
        figure.add_scatter(
            x=[bin_.confidence for bin_ in of_model],
            y=[bin_.accuracy for bin_ in of_model],
            mode="lines+markers",
            cliponaxis=False,
            name=escaped(name),
            line={"color": colour(position), "width": 1.5},
            marker={"size": [6 + 18 * np.sqrt(bin_.count / most) for bin_ in of_model], "opacity": 0.75},
            text=[plural(bin_.count, noun) for bin_ in of_model],
            hovertemplate=f"%{{text}}: {x_title} %{{x:.3f}}, {y_title} %{{y:.3f}}<extra></extra>",
        )
    diagonal = {"dash": "dot", "color": FAINT}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, name="perfect calibration", hoverinfo="skip")
    return _unit_square(figure, x_title, y_title)


def _unit_square(figure: go.Figure, x_title: str, y_title: str) -> go.Figure:
    figure.update_layout(height=520, legend={"orientation": "h", "y": -0.18})
    figure.update_xaxes(title=x_title, range=[-0.02, 1.02])
    figure.update_yaxes(title=y_title, range=[-0.02, 1.02])
    return figure


def _with_menu(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """Add a menu that shows one trace at a time, if there are several."""
    if len(names) > 1:
        buttons = [
            {"label": escaped(name), "method": "update", "args": [{"visible": [other == name for other in names]}]}
            for name in names
        ]
        position = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
        figure.update_layout(updatemenus=[{"buttons": buttons, **position}])
    return figure


def _separable_classes(has: NDArray[np.bool_]) -> list[int]:
    """Return the classes that some, but not all, images have, from (n, C) memberships."""
    classes: list[int] = np.flatnonzero(has.any(axis=0) & ~has.all(axis=0)).tolist()
    if not classes:
        raise NothingToDrawError("The curves need test images of at least two classes.")
    return classes


def _thinned(count: int) -> NDArray[np.int64]:
    """Return positions of at most 400 evenly spaced points of a curve, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(np.int64))
