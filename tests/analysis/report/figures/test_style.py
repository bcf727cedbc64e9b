import html

import plotly.graph_objects as go

from analysis.report.figures.style import NothingToDrawError, draw_panel, escaped


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
