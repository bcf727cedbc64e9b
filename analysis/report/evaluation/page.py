"""The HTML page of an external evaluation."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import plotly.graph_objects as go

from analysis.report.evaluation.inputs import ExternalResult, Outcome
from analysis.report.evaluation.tables import (
    calibration_table,
    class_table,
    mask_tables,
    point_table,
    prevalence_table,
    recalibration_table,
    score_tables,
    subgroup_tables,
)
from analysis.report.evaluation.wording import (
    about_copies,
    about_earlier,
    about_left_out,
    about_recalibration,
    about_sample,
    about_shift,
    about_subgroups,
    about_undivided,
    with_bounds,
)
from analysis.report.figures.classification_curves import calibration, confusion
from analysis.report.figures.style import FAINT, colour, draw_panel, escaped
from analysis.report.page import Block, Opening, Panel, Section, Text
from analysis.report.render import fill_page
from analysis.report.sections.segmentation_scores import dice_panel
from analysis.report.sections.wording import label_of, sentence, told_apart
from analysis.statistics.external.net_benefit import DecisionCurve
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL
from trainables.core.plural import plural

_ABOUT_NET_BENEFIT = (
    "Net benefit is the share of true positives, less the share of false positives weighted by the odds of the "
    "threshold. The model is useful at a threshold where its line is above the other two (Vickers and Elkin 2006)."
)
_MOST_CURVES = 6
_BAND = "rgba(68, 119, 170, 0.2)"  # the first of ``COLOURS``


def evaluation_page(result: ExternalResult, footer: str) -> str:
    """Return the HTML page of an external evaluation.

    Args:
        result: The evaluation.
        footer: Sentence that says when and with which versions the page was made.
    """
    sections = [
        _scores(result),
        *([_calibration(result), _use(result)] if result.outcomes else []),
        *([_subgroups(result)] if result.divisions else []),
        _data(result),
    ]
    facts, warnings = told_apart(result.notes)
    first = Opening(f"External evaluation of {result.model}", _summary(result), warnings, facts)
    return fill_page(first, sections, footer)


def _summary(result: ExternalResult) -> str:
    """Summarise the evaluation in one paragraph: the leading score, the difference, the thresholds."""
    sentences = [f"{result.model} was scored on {result.place}, without refitting: {_leading(result)}."]
    metric = result.metric
    known = next((one for one in result.differences if one.metric == metric), None)
    if known is not None:
        change = with_bounds(known.external - known.internal, known.interval, True)
        internal = with_bounds(known.internal, known.internal_interval)
        sentences.append(f"On its internal test set it had {internal}; the difference is {change}.")
    of_metric = result.evaluation.by(metric)[0].ensemble  # by patient if the metric is
    for scores in of_metric.points[:1]:
        values = [
            f"{name} {with_bounds(value, scores.intervals.get(name))}"
            for name, value in scores.metrics().items()
            if name in ("sensitivity", "specificity")
        ]
        if values:
            unit = f" by {scores.point.unit}" if result.evaluation.patients else ""
            more = " The other thresholds are in a table below." if len(of_metric.points) > 1 else ""
            sentences.append(f"At its threshold for {scores.point.positive}{unit} it has {' and '.join(values)}.{more}")
    sentences.append(sentence(about_earlier(result)))
    return " ".join(sentences)


def _leading(result: ExternalResult) -> str:
    metric, value, interval = result.leading
    return f"{label_of(metric)} {with_bounds(value, interval) or 'undefined'}"


def _scores(result: ExternalResult) -> Section:
    blocks: list[Block] = list(score_tables(result))
    blocks += [table for table in (point_table(result), prevalence_table(result), class_table(result)) if table.rows]
    blocks += mask_tables(result)
    blocks += [
        draw_panel(
            f"Confusion matrix by {unit}",
            "Rows are true classes, columns the most likely ones. A darker cell is a larger share of its row.",
            "Counts have no intervals.",
            partial(confusion, {"model": level.ensemble.confusion}, result.class_names, unit),
            120 + 70 * len(result.class_names),
        )
        for unit, level in result.evaluation.levels().items()
        if level.ensemble.confusion
    ]
    per_image = result.evaluation.ensemble.per_image
    blocks += [dice_panel(per_image, about_sample(result))] if per_image else []
    return Section("Scores", "scores", blocks)


def _calibration(result: ExternalResult) -> Section:
    outcomes, not_shown = _most_positives(result.outcomes)
    bins = {outcome.name: outcome.reliability for outcome in outcomes}
    after = result.recalibrated.outcomes if result.recalibrated else ()
    bins |= {f"recalibrated {outcome.name}": outcome.reliability for outcome in after if outcome.name in bins}
    diagram = draw_panel(
        "Reliability",
        "How often images are positive that were predicted with a given probability. Each marker is one bin, larger "
        "for more images. Markers below the diagonal mean that probabilities are too high.",
        f"{plural(result.images, 'image')} in bins of equal width; empty bins are omitted. Bins with few images are "
        f"unreliable.{not_shown}",
        partial(calibration, bins, "predicted probability", "share of positives"),
    )
    recalibrated = recalibration_table(result)
    blocks: list[Block] = [calibration_table(result), diagram]
    blocks += [recalibrated, Text("", about_recalibration(result))] if recalibrated.rows else []
    return Section("Calibration", "calibration", blocks)


def _use(result: ExternalResult) -> Section:
    stated, one = result.prevalence is not None, result.curve_at_prevalence
    # Of more than two classes, the stated share is that of one curve, and those of the classes are at their own.
    of_outcomes = stated and (result.has_labels or len(result.class_names) == 2)
    panels = [_curve_panel(one.positive, one.curve, "as stated")] if one is not None else []
    origin = f"as stated{', assumed for each label' * result.has_labels}" if of_outcomes else "that of these images"
    outcomes, not_shown = _most_positives([outcome for outcome in result.outcomes if outcome.curve is not None])
    panels += [_curve_panel(outcome.name, outcome.curve, origin) for outcome in outcomes if outcome.curve is not None]
    if not panels:
        return Section("Usefulness", "usefulness", [Text("", ["All images are alike, so there is no curve."])])
    alike = ", ".join(outcome.name for outcome in result.outcomes if outcome.curve is None)
    without = f" No curve, because all images are alike: {alike}." if alike else ""
    return Section("Usefulness", "usefulness", panels, f"{_ABOUT_NET_BENEFIT}{not_shown}{without}")


def _most_positives(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], str]:
    """Return at most ``_MOST_CURVES`` outcomes, those with the most positives, and a sentence that names the others."""
    ranked = sorted(outcomes, key=lambda outcome: outcome.positives, reverse=True)
    names = {outcome.name for outcome in ranked[:_MOST_CURVES]}
    hidden = ", ".join(outcome.name for outcome in outcomes if outcome.name not in names)
    return [outcome for outcome in outcomes if outcome.name in names], (
        f" Shown are the {_MOST_CURVES} with the most positives. Not shown: {hidden}." if hidden else ""
    )


def _curve_panel(positive: str, curve: DecisionCurve, origin: str) -> Panel:
    """Return the panel of a decision curve.

    Args:
        positive: What is positive.
        curve: Decision curve.
        origin: Phrase that says where its share of positives comes from.
    """
    return draw_panel(
        f"Decision curve of {positive}",
        _about_band(curve),
        f"A threshold of 10% means that one missed positive is as bad as nine false alarms. Share of positives: "
        f"{curve.prevalence:.1%}, {origin}.{_about_range(curve)}",
        partial(_decision_curve, positive, curve),
    )


def _about_band(curve: DecisionCurve) -> str:
    if not curve.low:
        return f"With fewer than {GROUPS_FOR_INTERVAL} groups of positives or of negatives, there is no band."
    return (
        "The band shows the 95% interval at each threshold, which allows for groups. Where it reaches below another "
        "line, these images do not show that the model is the better choice."
    )


def _highest_threshold(curve: DecisionCurve) -> float:
    """Return twice the highest threshold up to which the model is mostly useful, at most 1.

    It is useful at a threshold if it has a twentieth of the possible benefit. Single thresholds far above the others do
    not count, such as those that only a few images reach, which are all positive.
    """
    useful = np.array(curve.model) > curve.prevalence / 20
    mostly = useful & (np.cumsum(useful) >= np.arange(1, len(useful) + 1) / 2)
    highest = max((curve.thresholds[index] for index in np.flatnonzero(mostly)), default=0.0)
    return min(1.0, 2 * max(highest, curve.prevalence))


def _about_range(curve: DecisionCurve) -> str:
    highest = _highest_threshold(curve)
    return f" Not shown: thresholds above {highest:.0%}, where it mostly has next to no benefit." if highest < 1 else ""


def _decision_curve(positive: str, curve: DecisionCurve) -> go.Figure:
    """Draw net benefit against the threshold."""
    figure = go.Figure()
    lines = {
        f"model, for {escaped(positive)}": (curve.model, {"color": colour(0)}),
        "treat everyone": (curve.everyone, {"color": colour(1), "dash": "dash"}),
        "treat no one": ((0.0,) * len(curve.thresholds), {"color": FAINT, "dash": "dot"}),
    }
    if curve.low:
        edges = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=curve.thresholds, y=curve.high, **edges)
        figure.add_scatter(x=curve.thresholds, y=curve.low, fill="tonexty", fillcolor=_BAND, **edges)
    for name, (benefit, line) in lines.items():
        figure.add_scatter(x=curve.thresholds, y=benefit, mode="lines", name=name, line=line)
    highest = max(*curve.model, *curve.high, curve.prevalence, 0.01)
    figure.update_layout(height=520, legend={"orientation": "h", "y": -0.25})
    figure.update_xaxes(title="threshold probability", range=[0, _highest_threshold(curve)])
    figure.update_yaxes(title="net benefit", range=[-0.3 * highest, 1.1 * highest])
    return figure


def _subgroups(result: ExternalResult) -> Section:
    undivided = [Text("", [text])] if (text := about_undivided(result)) else []
    return Section("Subgroups", "subgroups", [*subgroup_tables(result), *undivided], about_subgroups(result))


def _data(result: ExternalResult) -> Section:
    lines = [about_left_out(result), about_copies(result), about_shift(result)]
    identity = f"Data: {result.place}, SHA-256 {result.fingerprint}. Model: SHA-256 {result.digest}."
    return Section("The data", "data", [Text("", list(filter(None, [*lines, identity])))])
