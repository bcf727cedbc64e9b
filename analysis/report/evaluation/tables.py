"""Tables of an external evaluation, for its page and the console."""

from collections.abc import Iterator, Sequence

from analysis.ensembles.evaluation import Evaluation, PointScores, Scores
from analysis.report.evaluation.inputs import Difference, ExternalResult, Outcome
from analysis.report.evaluation.wording import NOT_TESTED, about_differences, about_sample, with_bounds
from analysis.report.page import Table
from analysis.report.sections.wording import label_of
from trainables.core.metric_names import METRICS, PATIENT
from trainables.core.serving.operating_point import IMAGE, shown_threshold
from trainables.core.serving.operating_point import PATIENT as PATIENT_UNIT
from trainables.core.training.metrics.classification_metrics import class_keys

_PREFIXES = {IMAGE: "", PATIENT_UNIT: PATIENT}  # of the metrics of each unit
_POINT = ("sensitivity", "specificity", "ppv", "npv")


def _table(title: str, how_to_read: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(title, how_to_read, headings, rows, wrapped=True)


def all_tables(result: ExternalResult) -> list[Table]:
    """Return all tables that have rows."""
    tables = [
        *score_tables(result),
        point_table(result),
        prevalence_table(result),
        class_table(result),
        *mask_tables(result),
        calibration_table(result),
        recalibration_table(result),
        *subgroup_tables(result),
    ]
    return [table for table in tables if table.rows]


def score_tables(result: ExternalResult) -> Iterator[Table]:
    """Yield the scores by image, and by patient if there are any, beside the internal ones."""
    known = {difference.metric: difference for difference in result.differences}
    for unit, level in result.evaluation.levels().items():
        scores, prefix = level.ensemble, _PREFIXES[unit]
        names = [metric.name for metric in METRICS if metric.name in scores.metrics]
        marks = dict.fromkeys(scores.intervals, level.mark)
        shown = {name: with_bounds(scores.metrics[name], scores.intervals.get(name)) for name in names}
        rows = [[label_of(name), shown[name] + marks.get(name, "")] for name in names]
        headings = ["metric", "external [95%]"]
        if any(prefix + name in known for name in names):
            headings += ["internal [95%]", "difference [95%]"]
            rows = [row + _internal(known.get(prefix + name)) for row, name in zip(rows, names, strict=True)]
        about = "" if prefix else f"{about_sample(result)} {about_differences(result)}"
        yield _table(f"Scores by {unit}", about, headings, rows)


def point_table(result: ExternalResult) -> Table:
    """Return the scores at the model's thresholds."""
    rows = []
    for scores in _points(result.evaluation):
        point, metrics = scores.point, scores.metrics()
        values = [with_bounds(metrics.get(name), scores.intervals.get(name)) for name in _POINT]
        rows.append(
            [f"{point.positive} by {point.unit}", f"{shown_threshold(point.threshold)} ({point.rule})", *values]
        )
    return _table(
        "At the model's thresholds",
        "Thresholds come with the model and were not changed. The predictive values (ppv, npv) hold at the share of "
        "positives among these images.",
        ("positive", "threshold", *(f"{name} [95%]" for name in _POINT)),
        rows,
    )


def prevalence_table(result: ExternalResult) -> Table:
    """Return the predictive values at the stated prevalence; no rows without one."""
    each = " of each label" if result.has_labels else ""
    about = " The same share is assumed for each label." if result.has_labels else ""
    return _table(
        f"At a prevalence of {result.prevalence:.3g}{each}" if result.prevalence is not None else "",
        "Predictive values at the model's thresholds where this share is positive, from sensitivity and specificity by "
        f"Bayes' rule.{about}",
        ("positive", "ppv [95%]", "npv [95%]"),
        [
            [f"{one.positive} by {one.unit}", *(with_bounds(each.value, each.interval) for each in (one.ppv, one.npv))]
            for one in result.at_prevalence
        ],
    )


def _points(evaluation: Evaluation) -> Iterator[PointScores]:
    for level in evaluation.levels().values():
        yield from level.ensemble.points


def class_table(result: ExternalResult) -> Table:
    """Return the recall of each class; no rows for labels."""
    rows = [
        [recall.name, str(recall.images), str(recall.groups), recall.describe()]
        for recall in result.evaluation.ensemble.recalls
    ]
    how_to_read = "Recall is the share of a class's images whose most likely class is right."
    return _table("Recall by class", how_to_read, ("class", "images", "groups", "recall [95%]"), rows)


def mask_tables(result: ExternalResult) -> Iterator[Table]:
    """Yield Dice and IoU by class, if there are several, and at the images' own sizes; nothing without masks."""
    if result.own_size is None:
        return
    known = {difference.metric: difference for difference in result.differences}
    of_internal = ("internal Dice [95%]", "difference [95%]") if known else ()
    headings = ("class", "unit", "Dice [95%]", "IoU [95%]", *of_internal)
    rows = [
        [name, unit, *_overlaps(level.ensemble, f"/{key}")]
        + (_internal(known.get(f"{_PREFIXES[unit]}dice/{key}")) if known else [])
        for unit, level in result.evaluation.levels().items()
        for name, key in zip(result.class_names, class_keys(result.class_names), strict=True)
    ]
    if len(result.class_names) > 1:
        yield _table("By class", "A class that is neither present nor predicted counts as 1.", headings, rows)
    yield _table(
        "Masks at full size",
        "All other scores compare masks at the size of the network's input, as the search does. These compare the "
        "masks that are served.",
        ("unit", "Dice [95%]", "IoU [95%]"),
        [[unit, *_overlaps(level.ensemble, "")] for unit, level in result.own_size.levels().items()],
    )


def _overlaps(scores: Scores, suffix: str) -> list[str]:
    names = [f"{name}{suffix}" for name in ("dice", "iou")]
    return [with_bounds(scores.metrics[name], scores.intervals.get(name)) for name in names]


def _internal(difference: Difference | None) -> list[str]:
    """Return the cells of an internal score, and of the difference to it."""
    if difference is None:
        return ["", ""]
    internal = with_bounds(difference.internal, difference.internal_interval)
    return [internal, with_bounds(difference.external - difference.internal, difference.interval, True)]


def calibration_table(result: ExternalResult) -> Table:
    """Return the calibration of each class or label."""
    return _table(
        "Calibration",
        "An intercept above 0 means that probabilities are too low on average. A slope below 1 means that they are too "
        "extreme. The expected calibration error (ECE) is biased upwards in small samples and has no interval. Here it "
        "is of one class or label; in the scores it is of the most likely class, or of all labels.",
        ("positive", "images", "intercept [95%]", "slope [95%]", "ECE"),
        [_calibration(outcome) for outcome in result.outcomes],
    )


def _calibration(outcome: Outcome) -> list[str]:
    line = outcome.line
    bounds = [
        with_bounds(line.intercept, line.intercept_interval, True) if line else "undefined",
        with_bounds(line.slope, line.slope_interval) if line else "undefined",
    ]
    return [outcome.name, str(outcome.positives), *bounds, f"{outcome.ece:.3f}"]


def recalibration_table(result: ExternalResult) -> Table:
    """Return the scores before and after recalibration; no rows without one."""
    found = result.recalibrated
    rows = []
    if found is not None:
        before, after = result.evaluation.ensemble, found.evaluation.ensemble
        names = [metric.name for metric in METRICS if metric.name in before.metrics and metric.name in after.metrics]
        rows = [
            [label_of(name), *(with_bounds(one.metrics[name], one.intervals.get(name)) for one in (before, after))]
            for name in names
        ]
        for outcome, other in zip(result.outcomes, found.outcomes, strict=True):
            pairs = zip(("intercept", "slope"), _calibration(outcome)[2:4], _calibration(other)[2:4], strict=True)
            rows += [[f"calibration {name} of {outcome.name}", one, two] for name, one, two in pairs]
    return _table(
        "Before and after recalibration",
        "Both columns are of the images that the recalibration was not fitted to, at the model's thresholds.",
        ("metric", "as registered [95%]", "recalibrated [95%]"),
        rows,
    )


def subgroup_tables(result: ExternalResult) -> Iterator[Table]:
    """Yield the subgroups of each column that has several, and the tests of their differences in the last rows."""
    for division in result.divisions:
        if len(division.subgroups) < 2:
            continue
        names = list(dict.fromkeys(name for one in division.subgroups for name in one.figures))
        rows = [
            [one.name, str(one.images), str(one.groups)]
            + [with_bounds(one.figures.get(name), one.intervals.get(name)) for name in names]
            for one in division.subgroups
        ]
        tests = {"p-value": division.p_values, "p-value, corrected": division.corrected} if division.p_values else {}
        for label, values in tests.items():
            rows.append([label, "", "", *(f"{values[name]:.3g}" if name in values else "" for name in names)])
        headings = (division.column, "images", "groups", *(f"{label_of(name)} [95%]" for name in names))
        about = [] if division.p_values else [f"Not tested: {NOT_TESTED}."]
        metric = result.metric.removeprefix(PATIENT)  # subgroups are scored by image
        if metric in names and any(metric not in one.figures for one in division.subgroups):
            about.append(f"Subgroups without {label_of(metric)} lack images of a class that others have.")
        yield _table(f"By {division.column}", " ".join(about), headings, rows)
