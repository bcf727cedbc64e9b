"""Tables that commands print: the comparison of rules, the scores on ``test``, and the Pareto front."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.ensembles.choose_rule import Choice, Compared
from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble, EnsembleResult
from analysis.ensembles.rules import SCALED
from analysis.ensembles.tasks.base import ResultTable
from analysis.ensembles.tasks.choose import task_results
from analysis.statistics.resampling import GROUPS_FOR_TEST
from analysis.trials import TrialRecord, network_of
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import METRICS, MINIMIZED
from trainables.core.plural import plural
from tuning.console import say, say_notes, with_whole_intervals


def show(result: EnsembleResult, data: Dataset, console: Console) -> None:
    """Print how an ensemble was chosen, and its scores on ``test``."""
    show_choice(result.chosen, console)
    show_test(result, data, console)


def show_front(front: Sequence[TrialRecord], metrics: Sequence[str], console: Console) -> None:
    """Print the trials that no other trial beats in all metrics."""
    table = Table("trial", "backbone", title=f"No trial beats these in both {' and '.join(metrics)}")
    for metric in metrics:
        table.add_column(metric.replace("_", " "), justify="right")
    for record in front:
        values = (f"{value:.4g}" for value in record.objectives(metrics))
        table.add_row(str(record.number), escape(network_of(record)), *values)
    console.print(table)
    devices = sorted({record.device for record in front if record.device})
    if devices:
        say(console, f"Latency: one image, median of 50 runs, on {', '.join(devices)}.")


def show_choice(chosen: ChosenEnsemble, console: Console) -> None:
    """Print the comparison of the rules, the chosen one, and the diversity of the members."""
    comparison, bias = chosen.comparison, chosen.selection_bias
    if len(comparison.rules) > 1:
        console.print(_rules_table(chosen))
    corrected = comparison.corrected
    unbiased = "" if corrected is None else f"; corrected for choosing the rule: {corrected:.4f}"
    score = f"{comparison.metric} {comparison.score:.4f}"
    say(console, f"Chosen: {comparison.chosen}, {score} on images it was not fitted to{unbiased}.")
    if comparison.patients is not None:
        say(console, f"Images of a patient: {comparison.patients.describe()}.")
    for point in comparison.points:
        say(console, f"Operating point by {point.point.unit}: {point.describe()}.")
    for sets in comparison.combination.sets:
        say(console, f"Prediction sets by {sets.unit}: {sets.describe()}.")
    if bias is not None:
        sentence = bias.describe(comparison.metric)
        say(console, f"{sentence[0].upper()}{sentence[1:]}.")
    disagreement, correlation = chosen.diversity.mean_disagreement, chosen.diversity.mean_error_correlation
    if disagreement is not None:
        errors = "" if correlation is None else f"; the correlation of their errors is {correlation:.2f}"
        say(console, f"On average, two members disagree on {disagreement:.0%} of the images{errors}.")
    say_notes(console, comparison.notes)


def show_test(result: EnsembleResult, data: Dataset, console: Console) -> None:
    """Print the test scores of the ensemble, its members and each class, with their intervals and caveats."""
    evaluation = result.evaluation
    images = f"{plural(len(data.splits['test']), 'image')} in {plural(evaluation.groups, 'group')}"
    say(console, f"Test set: {images}, {result.openings.describe()}.")
    say(console, f"Test split: {data.test_description}.")
    say_notes(console, [f"LEAK: {data.leak}"] * bool(data.leak))
    console.print(_metrics_table(result, evaluation))
    if evaluation.patients:
        title = f"By patient: {plural(evaluation.patients.units, 'patient')}"
        console.print(_metrics_table(result, evaluation.patients, title))
    say(console, _significance(result))
    console.print(_members_table(result))
    for table in task_results(data).class_tables(evaluation):
        console.print(_as_rich(table, console.width))
    say_notes(console, [*data.notes, *evaluation.caveats()])


def _rules_table(chosen: ChosenEnsemble) -> Table:
    """Lay out one row per rule; a rule on members with fitted temperatures stands beside the plain one."""
    comparison = chosen.comparison
    images = f"{plural(chosen.images, 'image')} in {plural(chosen.groups, 'group')}"
    title = f"{comparison.metric} on {chosen.chosen_on}: {images}"
    lower = "; lower is better" if comparison.metric in MINIMIZED else ""
    reference = f"differences are from {comparison.reference or 'the best rule'}{lower}"
    table = Table("rule, simplest first", title=title, caption=reference)
    by_name = {compared.rule: compared for compared in comparison.rules}
    any_scaled = any(name.endswith(SCALED) for name in by_name)
    for column in ("score", "difference", *(("with temperatures", "difference") if any_scaled else ())):
        table.add_column(column, justify="right")
    for name, compared in by_name.items():
        if not name.endswith(SCALED):
            cells = _cells(comparison, compared)
            cells += _cells(comparison, by_name.get(name + SCALED)) if any_scaled else []
            table.add_row(name, *cells, style="bold" if comparison.chosen in (name, name + SCALED) else "")
    return table


def _cells(comparison: Choice, compared: Compared | None) -> list[str]:
    """Return a rule's score, and its difference from the reference unless it is 0 or undefined."""
    if compared is None:
        return ["", ""]
    difference = comparison.difference(compared)
    shown = "" if difference == 0 or math.isinf(difference) else f"{difference:+.4f} ± {compared.error:.4f}"
    return [f"{compared.score:.4f}", shown]


def _metrics_table(result: EnsembleResult, evaluation: Evaluation, title: str | None = None) -> Table:
    best = evaluation.best_member
    table = Table("metric", title=title)
    for column in ("ensemble", "95% interval", f"best member ({result.chosen.members[best].name})"):
        table.add_column(column, justify="right")
    values, of_best = evaluation.ensemble.metrics, evaluation.members[best].metrics
    for name in (metric.name for metric in METRICS if metric.name in values):
        bounds = evaluation.ensemble.intervals.get(name)
        interval = escape(f"[{bounds[0]:.3f}, {bounds[1]:.3f}]{evaluation.mark}") if bounds else ""
        member = f"{of_best[name]:.4f}" if name in of_best else ""  # members have no operating point
        table.add_row(name.replace("_", " "), f"{values[name]:.4f}", interval, member)
    return table


def _significance(result: EnsembleResult) -> str:
    """Return a sentence about the test of the ensemble against its best member."""
    comparison = result.chosen.comparison
    evaluation, _ = result.evaluation.by(comparison.metric)
    best = result.chosen.members[evaluation.best_member].name
    if comparison.combination.voters() == [evaluation.best_member]:
        return f"Only one member votes: {best}."
    if evaluation.p_value is None and evaluation.groups >= GROUPS_FOR_TEST:
        return f"Not tested against {best}: {comparison.metric} is undefined on test."
    if evaluation.p_value is None:
        return f"Not tested against {best}: that needs {GROUPS_FOR_TEST} groups, and test has {evaluation.groups}."
    p_value = f"p = {evaluation.p_value:.3g} (permutation test of whole groups)"
    return f"The ensemble against {best} by {comparison.metric}: {p_value}."


def _members_table(result: EnsembleResult) -> Table:
    chosen, metric = result.chosen, result.chosen.comparison.metric
    scored_on = ("out of fold",) if chosen.folds else ("tune", "select")
    heading = "out of fold" if chosen.folds else "best on tune, on select"
    evaluation, bare_metric = result.evaluation.by(metric)
    by_patient = ", by patient" if bare_metric != metric else ""
    table = Table("member", title=f"Members: weight, {heading}, on test{by_patient}")
    columns = [one.name for one in METRICS if one.of_members and one.name in evaluation.ensemble.metrics]
    for column in ("weight", *scored_on, *columns):
        table.add_column(column.replace("_", " "), justify="right")
    weights = chosen.comparison.combination.weights
    rows = zip(chosen.members, weights, chosen.member_scores, evaluation.members, strict=True)
    for record, weight, score, on_test in rows:
        on_tune = [] if chosen.folds else [f"{record.epochs[-1].metrics[f'best_{metric}']:.4f}"]
        name = escape(f"{record.name} {network_of(record)}")
        cells = [f"{on_test.metrics[column]:.4f}" if column in on_test.metrics else "" for column in columns]
        table.add_row(name, f"{weight:.3f}", *on_tune, f"{score:.4f}", *cells)
    return table


def _as_rich(table: ResultTable, width: int) -> Table:
    drawn = Table(title=table.title)
    drawn.add_column(escape(table.headings[0]), overflow="fold")
    for heading in table.headings[1:]:
        drawn.add_column(escape(heading), justify="right")
    for row in with_whole_intervals(table.headings, table.rows, width):
        drawn.add_row(*map(escape, row))
    return drawn
