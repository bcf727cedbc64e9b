"""Scores of trials: learning curves by epoch or fold, and best scores by trial."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from analysis.report.figures.style import COLOURS, FAINT, NothingToDrawError, colour, escaped, whole_step
from analysis.report.inputs import best_value
from analysis.trials import MUTATION, PORTFOLIO, RECIPE, SAMPLER, WARM_START, TrialRecord, network_of
from trainables.core.metric_names import is_better

_NO_VALUE = "No trial has reported a finite value."
_MARKERS = {  # colour and symbol of each origin
    RECIPE: (COLOURS[1], "diamond"),
    PORTFOLIO: (COLOURS[2], "square"),
    WARM_START: (COLOURS[3], "triangle-up"),
    MUTATION: (COLOURS[4], "triangle-down"),
    SAMPLER: (COLOURS[0], "circle"),
}


def learning_curves(
    records: Sequence[TrialRecord],
    metric: str,
    scored_on: str,
    rungs: Sequence[int],
    members: Sequence[int],
    unit: str = "epoch",
) -> go.Figure:
    """Draw the metric by report, one line per trial, with the rungs as vertical lines.

    Args:
        records: Trials.
        metric: Bare metric name.
        scored_on: Images that scores are of, such as ``tune``.
        rungs: Reports at which trials are compared.
        members: Numbers of the trials in the ensemble.
        unit: Unit of a report, ``epoch`` or ``fold``.
    """
    figure = go.Figure()
    members_last = sorted(records, key=lambda record: record.number in members)  # on top of the others
    for record in members_last:
        points = [(epoch.epoch, epoch.metrics.get(f"tune/{metric}", math.nan)) for epoch in record.epochs]
        points = [(epoch, value) for epoch, value in points if math.isfinite(value)]
        if not points:
            continue
        member = record.number in members
        network = escaped(network_of(record))
        figure.add_scatter(
            x=[epoch for epoch, _ in points],
            y=[value for _, value in points],
            mode="lines+markers",
            line={
                "color": colour(members.index(record.number)) if member else FAINT,
                "width": 2.5 if member else 1.2,
                "dash": "dot" if record.state == "PRUNED" else "solid",
            },
            marker={"size": 7 if member else 6},
            opacity=1 if member else 0.7,
            name=f"trial {record.number}, {network}",
            showlegend=member,
            hovertemplate=f"trial {record.number}, {network}<br>{unit} %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    if not figure.data:
        raise NothingToDrawError(_NO_VALUE)
    for rung in rungs:
        figure.add_vline(x=rung, line={"dash": "dash", "width": 1, "color": FAINT}, annotation_text="rung")
    figure.update_layout(height=420, legend={"orientation": "h", "y": -0.2})
    longest = max(max(trace.x) for trace in figure.data)
    figure.update_xaxes(title=unit, range=[0.5, longest + 0.5], dtick=whole_step(longest))
    figure.update_yaxes(title=f"{metric} on {scored_on}")
    return figure


def best_scores(records: Sequence[TrialRecord], metric: str, scored_on: str) -> go.Figure:
    """Draw the best score of each trial in the order of their starts, by the origin of its parameters.

    Args:
        records: Trials, by number.
        metric: Bare metric name.
        scored_on: Images that scores are of, such as ``tune``.
    """
    scored = [(record, best_value(record, metric)) for record in records]
    points = [(record, value) for record, value in scored if value is not None]
    if not points:
        raise NothingToDrawError(_NO_VALUE)
    figure = go.Figure()
    for origin, (shade, symbol) in _MARKERS.items():
        of_kind = [(record, value) for record, value in points if record.origin == origin]
        if not of_kind:
            continue
        figure.add_scatter(
            x=[record.number for record, _ in of_kind],
            y=[value for _, value in of_kind],
            mode="markers",
            name=origin,
            marker={
                "color": shade,
                "size": 10,
                "symbol": [f"{symbol}-open" if record.state == "PRUNED" else symbol for record, _ in of_kind],
            },
            text=[escaped(network_of(record)) for record, _ in of_kind],
            hovertemplate="trial %{x}, %{text}: %{y:.4f}<extra></extra>",
        )
    best_so_far: list[float] = []
    for _, value in points:
        previous = best_so_far[-1] if best_so_far else None
        best_so_far.append(value if previous is None or is_better(metric, value, previous) else previous)
    numbers = [record.number for record, _ in points]
    line = {"color": FAINT, "shape": "hv", "width": 1.5}
    figure.add_scatter(x=numbers, y=best_so_far, mode="lines", line=line, name="best so far", hoverinfo="skip")
    figure.update_layout(height=380, legend={"orientation": "h", "y": -0.22})
    figure.update_xaxes(title="trial", dtick=whole_step(numbers[-1]))
    figure.update_yaxes(title=f"best {metric} on {scored_on}")
    return figure
