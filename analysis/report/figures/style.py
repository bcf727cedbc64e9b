"""The look that all figures of a report share.

Class and file names go through ``escaped`` before they reach plotly, which interprets some HTML tags.
"""

import html
from collections.abc import Callable

import plotly.graph_objects as go

from analysis.report.page import Panel
from trainables.core.errors import first_line

# Paul Tol's "bright" colour scheme, which is safe for colour-blind readers. FAINT is for everything out of focus.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
FAINT = "#999999"
SCALE = [[0.0, "#c6d3e3"], [1.0, "#1f4e85"]]
_NAME_LENGTH = 28


class NothingToDrawError(Exception):
    """A figure has no content. The message says why, as a sentence for the report."""


def draw_panel(title: str, how_to_read: str, caveat: str, draw: Callable[[], go.Figure], min_width: int = 0) -> Panel:
    """Draw a figure; if that fails, return a panel that says why instead of failing the report."""
    try:
        return Panel(title, how_to_read, caveat, _styled(draw()), min_width=min_width)
    except NothingToDrawError as reason:
        return Panel(title, how_to_read, caveat, None, str(reason))
    except Exception as error:  # plotting libraries raise many types on unusual numbers
        return Panel(title, how_to_read, caveat, None, f"The figure could not be drawn: {first_line(error)}.")


def escaped(name: str, length: int = _NAME_LENGTH) -> str:
    """Return a name from outside as literal text for plotly, shortened to ``length`` characters."""
    text = " ".join(name.split())
    return html.escape(text if len(text) <= length else text[: length - 1] + "…")


def colour(position: int) -> str:
    """Return the colour of the class or model at a position."""
    return COLOURS[position % len(COLOURS)]


def whole_step(highest: float) -> int:
    """Return a step between the ticks of an axis of whole numbers that makes at most ten of them."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if highest <= 10 * step:
                return step
        power *= 10


def _styled(figure: go.Figure) -> go.Figure:
    """Apply the shared layout. The page sets the colours of text and lines, for its light or dark theme."""
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
