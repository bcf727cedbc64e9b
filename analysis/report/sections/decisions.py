"""Decisions of an ensemble on ``test``: its operating point, its prediction sets, and what abstaining saves."""

from functools import partial

import plotly.graph_objects as go

from analysis.ensembles.tasks.decision_tables import point_tables, set_tables
from analysis.report.figures.abstention import risk_by_coverage
from analysis.report.figures.style import NothingToDrawError, draw_panel
from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.report.page import Block, Panel, Table


def decision_blocks(search: SearchInputs, ensemble: EnsembleInputs) -> list[Block]:
    """Return a table for each operating point and kind of prediction sets, and the risk-coverage curve."""
    evaluation, chosen_on = ensemble.evaluation, search.data.chosen_on
    at_points = (
        f"A prediction is positive from this probability on, which the rule in brackets chose on {chosen_on}. "
        "Sensitivity is the share of the positives found, specificity the share of the negatives that stay negative. "
        "The predictive values ppv and npv are the shares of right positive and negative decisions; they depend on how "
        "common positives are in this test set."
    )
    of_sets = (
        "A set holds all classes that the prediction does not rule out. Its coverage is promised for groups like those "
        f"of {chosen_on}, each counted once. Where a set does not have exactly one class, a person should decide."
    )
    return [
        *(Table(table.title, at_points, table.headings, table.rows) for table in point_tables(evaluation)),
        *(Table(table.title, of_sets, table.headings, table.rows) for table in set_tables(evaluation)),
        _risk_panel(search, ensemble),
    ]


def _risk_panel(search: SearchInputs, ensemble: EnsembleInputs) -> Panel:
    sets = ensemble.evaluation.ensemble.sets
    decided = None if sets is None else sets.sizes[1] / sets.units
    area = "" if sets is None else f" The area under the curve is {sets.risk_area:.4f}."
    return draw_panel(
        "Abstention",
        "The error rate if only the most confident predictions are accepted and a person decides on the rest. A curve "
        "that falls towards the left means that the model knows when it is wrong.",
        f"Images of test, by the highest class probability; no confidence band. The left end rests on few.{area}",
        partial(_draw, search, ensemble, decided),
    )


def _draw(search: SearchInputs, ensemble: EnsembleInputs, decided: float | None) -> go.Figure:
    if ensemble.test_predictions is None:
        raise NothingToDrawError(f"The predictions on test are missing: {ensemble.why_no_predictions}.")
    labels = search.data.labels[search.data.splits["test"]]
    return risk_by_coverage(ensemble.chosen.comparison.combination.apply(ensemble.test_predictions), labels, decided)
