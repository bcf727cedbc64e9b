import html

import plotly.graph_objects as go
import pytest

from analysis.report.figures.style import NothingToDrawError, draw_panel, escaped, whole_step


def test_a_figure_that_cannot_be_drawn_becomes_a_sentence():
    def fail(error):
        raise error

    panel = draw_panel("title", "how", "caveat", lambda: fail(ZeroDivisionError("by zero")))
    assert (panel.figure, panel.missing) == (None, "The figure could not be drawn: by zero.")
    assert draw_panel("", "", "", lambda: fail(NothingToDrawError("No trial."))).missing == "No trial."
    assert draw_panel("", "", "", go.Figure).missing == ""


def test_names_are_literal_text_and_at_most_28_characters():
    for name in ("<script>alert(1)</script>", "R&D", 'a "quoted" name'):
        assert html.unescape(escaped(name)) == name
        assert not {"<", ">", '"'} & set(escaped(name))
    assert len(escaped("a" * 5000)) == 28
    assert escaped("two\n  lines") == "two lines"


@pytest.mark.parametrize(("highest", "step"), [(0, 1), (3, 1), (10, 1), (11, 2), (40, 5), (51, 10), (1234, 200)])
def test_ticks_of_whole_numbers_are_whole(highest, step):
    assert whole_step(highest) == step
    assert highest / step <= 10
