"""Figure of the risk that remains if only confident predictions are accepted."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.ensembles.prediction_sets import risk_coverage
from analysis.report.figures.style import colour
from analysis.statistics.resampling import Probabilities

_MOST_POINTS = 400


def risk_by_coverage(probabilities: Probabilities, labels: NDArray[np.int64], decided: float | None) -> go.Figure:
    """Draw the risk-coverage curve.

    Args:
        probabilities: (n, C) probabilities.
        labels: (n,) classes.
        decided: Share of the images whose prediction set has one class, or None.
    """
    risks = risk_coverage(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    shown = np.unique(np.linspace(0, len(risks) - 1, min(len(risks), _MOST_POINTS)).astype(int))
    figure = go.Figure()
    figure.add_scatter(
        x=(shown + 1) / len(risks),
        y=risks[shown],
        mode="lines",
        line={"color": colour(0), "width": 2},
        hovertemplate="accepted %{x:.0%}<br>wrong among these %{y:.1%}<extra></extra>",
        showlegend=False,
    )
    if decided:
        line = {"dash": "dot", "width": 1}
        figure.add_vline(decided, line=line, annotation_text="sets with one class", annotation_position="top left")
    figure.update_xaxes(title="share of images that are accepted", range=[0, 1.02], tickformat=".0%")
    figure.update_yaxes(title="error rate among these", rangemode="tozero", tickformat=".0%")
    return figure
