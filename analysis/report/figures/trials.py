"""Figures of a search, interactive and without any file beside them: each with how to read it, and its caveat.

Names from outside (classes, files) go through ``plain``: plotly takes some of HTML for its own.
"""

import html
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from analysis.trials import TrialRecord, network_of
from trainables.core.errors import first_line
from trainables.core.metric_names import is_better

# Paul Tol's "bright" scheme, which the colour-blind can tell apart; the last is for what is not in focus.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
FAINT = "#999999"
SCALE = [[0.0, "#c6d3e3"], [1.0, "#1f4e85"]]
_NAME_LENGTH = 28


class MissingError(Exception):
    """There is nothing to draw; the message says why."""


@dataclass(frozen=True)
class Panel:
    """A figure as a report shows it.

    Attributes:
        title: Its heading.
        reading: How to read it, in a sentence.
        caveat: What must be borne in mind: how many, of which split, how uncertain.
        figure: None where there is none.
        missing: Why there is none.
        least_width: Pixels below which it is not squeezed.
    """

    title: str
    reading: str
    caveat: str
    figure: go.Figure | None
    missing: str = ""
    least_width: int = 0


def panel(title: str, reading: str, caveat: str, draw: Callable[[], go.Figure], least_width: int = 0) -> Panel:
    """Draws a figure; one that cannot be drawn is a sentence in a report, never the report's end."""
    try:
        return Panel(title, reading, caveat, _styled(draw()), least_width=least_width)
    except MissingError as why:
        return Panel(title, reading, caveat, None, str(why))
    except Exception as error:  # whatever a library makes of odd numbers: a report of hours of training must be made
        return Panel(title, reading, caveat, None, f"It could not be drawn: {first_line(error)}.")


def plain(name: str, length: int = _NAME_LENGTH) -> str:
    """A name from outside as plotly shows it as it is, cut to a length."""
    text = " ".join(name.split())
    return html.escape(text if len(text) <= length else text[: length - 1] + "…")


def colour(position: int) -> str:
    """The colour of the class, or model, at a position."""
    return COLOURS[position % len(COLOURS)]


def learning_curves(
    records: Sequence[TrialRecord], metric: str, rungs: Sequence[int], members: Sequence[int]
) -> go.Figure:
    """The metric on ``tune`` by epoch, a line a trial, and the epochs at which trials are compared."""
    figure = go.Figure()
    behind_first = sorted(records, key=lambda record: record.number in members)
    for record in behind_first:
        points = [(epoch.epoch, epoch.metrics.get(f"tune/{metric}", math.nan)) for epoch in record.epochs]
        points = [(epoch, value) for epoch, value in points if math.isfinite(value)]
        if not points:
            continue
        member = record.number in members
        network = plain(network_of(record))
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
            hovertemplate=f"trial {record.number}, {network}<br>epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    if not figure.data:
        raise MissingError("No trial has reported a finite value.")
    for rung in rungs:
        figure.add_vline(x=rung, line={"dash": "dash", "width": 1, "color": FAINT}, annotation_text="rung")
    figure.update_layout(height=420, legend={"orientation": "h", "y": -0.2})
    longest = max(max(trace.x) for trace in figure.data)
    figure.update_xaxes(title="epoch", range=[0.5, longest + 0.5], dtick=1 if longest <= 20 else None)
    figure.update_yaxes(title=f"{metric} on tune")
    return figure


def recipes(records: Sequence[TrialRecord], recipe_numbers: Collection[int], metric: str) -> go.Figure:
    """The best value of each trial in the order in which they were begun; recipes apart from what was searched."""
    scored = [(record, best_value(record, metric)) for record in records]
    points = [(record, value) for record, value in scored if value is not None]
    if not points:
        raise MissingError("No trial has reported a finite value.")
    figure = go.Figure()
    kinds = (("recipes", True, COLOURS[1], "diamond"), ("searched", False, COLOURS[0], "circle"))
    for name, wanted, shade, symbol in kinds:
        of_kind = [(record, value) for record, value in points if (record.number in recipe_numbers) == wanted]
        figure.add_scatter(
            x=[record.number for record, _ in of_kind],
            y=[value for _, value in of_kind],
            mode="markers",
            name=name,
            marker={
                "color": shade,
                "size": 10,
                "symbol": [f"{symbol}-open" if record.state == "PRUNED" else symbol for record, _ in of_kind],
            },
            text=[plain(network_of(record)) for record, _ in of_kind],
            hovertemplate="trial %{x}, %{text}: %{y:.4f}<extra></extra>",
        )
    best, so_far = [], None
    for _, value in points:
        so_far = value if so_far is None or is_better(metric, value, so_far) else so_far
        best.append(so_far)
    numbers = [record.number for record, _ in points]
    line = {"color": FAINT, "shape": "hv", "width": 1.5}
    figure.add_scatter(x=numbers, y=best, mode="lines", line=line, name="best so far", hoverinfo="skip")
    figure.update_layout(height=380, legend={"orientation": "h", "y": -0.22})
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title=f"best {metric} on tune")
    return figure


def best_value(record: TrialRecord, metric: str) -> float | None:
    """A trial's objective at its best epoch; None where it has none that is finite."""
    value = record.epochs[-1].metrics.get(f"best_{metric}", math.nan) if record.epochs else math.nan
    return value if math.isfinite(value) else None


def _styled(figure: go.Figure) -> go.Figure:
    """One look for all figures; colours of text and lines are the page's to choose, which knows light from dark."""
    figure.update_layout(
        template="none",
        title=None,
        autosize=True,
        width=None,
        margin={"l": 64, "r": 16, "t": 28, "b": 56},
        colorway=COLOURS,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.for_each_annotation(lambda annotation: annotation.update(font={"color": None}))
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
