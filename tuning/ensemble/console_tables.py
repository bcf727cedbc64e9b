"""What a command prints of an ensemble: the comparison on ``select``, and the figures on ``test``."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.ensembles.choose_rule import Compared
from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.rules import SCALED
from analysis.statistics.resampling import GROUPS_FOR_TEST
from analysis.trials import TrialRecord, network_of
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import SENSITIVITY
from trainables.core.training.classification_metrics import class_keys
from tuning.ensemble.build import Built, Result

# Of a segmentation, then of a classification: those that a model has are shown.
_COLUMNS = ("dice", "iou", "dataset_dice", "dataset_iou", "balanced_accuracy", "macro_f1", "accuracy", "auroc")
_FIGURES = (*_COLUMNS, "average_precision", SENSITIVITY, "log_loss", "brier", "ece")


def show(result: Result, data: Dataset, console: Console) -> None:
    """Prints all of a result."""
    show_built(result.built, console)
    show_test(result, data, console)


def show_front(front: Sequence[TrialRecord], metrics: Sequence[str], console: Console) -> None:
    """Prints the trials that no other one beats in all metrics."""
    table = Table("trial", "backbone", title=f"No trial beats these in both {' and '.join(metrics)}")
    for metric in metrics:
        table.add_column(metric.replace("_", " "), justify="right")
    for record in front:
        values = (f"{value:.4g}" for value in record.objectives(metrics))
        table.add_row(str(record.number), escape(network_of(record)), *values)
    console.print(table)
    devices = sorted({record.device for record in front if record.device})
    if devices:
        _print(f"Latency: one image, the median of 50, on {', '.join(devices)}.", console)


def show_built(built: Built, console: Console) -> None:
    """Prints how the rules compared where the ensemble was chosen, which one was chosen, and how members differ."""
    found = built.comparison
    title = f"{found.metric} on {built.where}: {built.images} images in {built.groups} groups"
    table = Table("rule, simplest first", title=title)
    by_name = {compared.rule: compared for compared in found.rules}
    scaled = any(name.endswith(SCALED) for name in by_name)
    for column in ("score", "behind the best", *(("with temperatures", "behind the best") if scaled else ())):
        table.add_column(column, justify="right")
    for name, compared in by_name.items():
        if not name.endswith(SCALED):
            cells = [*_cells(compared), *(_cells(by_name.get(name + SCALED)) if scaled else ())]
            table.add_row(name, *cells, style="bold" if found.chosen in (name, name + SCALED) else "")
    console.print(table)
    unbiased = "" if found.corrected is None else f"; corrected for choosing the rule: {found.corrected:.4f}"
    _print(
        f"Chosen: {found.chosen}, {found.metric} {found.score:.4f} on images it was not fitted to{unbiased}.", console
    )
    if built.tuned is not None:
        told = built.tuned.told(found.metric)
        _print(f"{told[0].upper()}{told[1:]}.", console)
    disagreement, correlation = built.diversity.mean_disagreement, built.diversity.mean_error_correlation
    if disagreement is not None:
        errors = "" if correlation is None else f"; their errors correlate by {correlation:.2f}"
        _print(f"Members: two of them disagree on {disagreement:.0%} of the images on average{errors}.", console)
    _print_notes(found.notes, console)


def show_test(result: Result, data: Dataset, console: Console) -> None:
    """Prints the ensemble's figures with their intervals, its members' and each class's, and the confusion matrix."""
    built, scored = result.built, result.evaluation
    where = f"{len(data.splits['test'])} images in {scored.groups} groups"
    _print(f"Test set: {where}, {result.openings.describe()}.", console)
    _print(f"Test is {data.test_told}.", console)
    _print_notes([f"LEAK: {data.leak}"] * bool(data.leak), console)
    console.print(_figures_table(built, scored))
    _print(_tested(built, scored), console)
    console.print(_members_table(built, scored))
    for table in _masks_tables(scored, data) if data.mask_format else _class_tables(scored, data):
        console.print(table)
    _print_notes([*data.notes, *scored.caveats()], console)


def _class_tables(scored: Evaluation, data: Dataset) -> tuple[Table, ...]:
    recalls = Table("class", title="Recall of the ensemble, by class")
    for column in ("images", "groups", "recall [95%]"):
        recalls.add_column(column, justify="right")
    for recall in scored.ensemble.recalls:
        recalls.add_row(escape(recall.name), str(recall.images), str(recall.groups), escape(recall.told()))
    confusion = Table("true \\ predicted", *map(escape, data.class_names), title="Confusion matrix of the ensemble")
    for class_name, row in zip(data.class_names, scored.ensemble.confusion, strict=True):
        confusion.add_row(escape(class_name), *map(str, row))
    return recalls, confusion


def _masks_tables(scored: Evaluation, data: Dataset) -> tuple[Table, ...]:
    if len(data.class_names) == 1:
        return ()
    classes = Table("class", title="The ensemble, by class")
    for column in _COLUMNS[:4]:
        classes.add_column(column.replace("_", " "), justify="right")
    for name, key in zip(data.class_names, class_keys(data.class_names), strict=True):
        classes.add_row(escape(name), *(f"{scored.ensemble.metrics[f'{column}/{key}']:.4f}" for column in _COLUMNS[:4]))
    return (classes,)


def _figures_table(built: Built, scored: Evaluation) -> Table:
    best = built.members[scored.best_member].number
    table = Table("figure")
    for column in ("ensemble", "95% interval", f"best member (trial {best})"):
        table.add_column(column, justify="right")
    mark = "*" if scored.conditional else ""
    for name in _FIGURES:
        if name in scored.ensemble.metrics:
            interval = scored.ensemble.intervals.get(name)
            told = escape(f"[{interval[0]:.3f}, {interval[1]:.3f}]{mark}") if interval else ""
            alone = scored.members[scored.best_member].metrics[name]
            table.add_row(name.replace("_", " "), f"{scored.ensemble.metrics[name]:.4f}", told, f"{alone:.4f}")
    return table


def _tested(built: Built, scored: Evaluation) -> str:
    best, metric = built.members[scored.best_member].number, built.comparison.metric
    if built.comparison.combination.voters() == [scored.best_member]:
        return f"The ensemble is trial {best} alone."
    if scored.p_value is None:
        return f"Not tested against trial {best}: that needs {GROUPS_FOR_TEST} groups, and there are {scored.groups}."
    return f"The ensemble against trial {best} by {metric}: p = {scored.p_value:.3g}, exchanging whole groups."


def _members_table(built: Built, scored: Evaluation) -> Table:
    chosen = ("out of fold",) if built.folds else ("tune", "select")
    told = "out of fold" if built.folds else "best on tune, on select"
    table = Table("member", title=f"Members: weight, {told}, on test")
    metric = built.comparison.metric
    columns = [name for name in _COLUMNS if name in scored.ensemble.metrics]
    for column in ("weight", *chosen, *columns):
        table.add_column(column.replace("_", " "), justify="right")
    rows = zip(built.members, built.comparison.combination.weights, built.alone, scored.members, strict=True)
    for record, weight, alone, scores in rows:
        best = [] if built.folds else [f"{record.epochs[-1].metrics[f'best_{metric}']:.4f}"]
        name = escape(f"trial {record.number} {network_of(record)}")
        on_test = [f"{scores.metrics[column]:.4f}" if column in scores.metrics else "" for column in columns]
        table.add_row(name, f"{weight:.3f}", *best, f"{alone:.4f}", *on_test)
    return table


def _cells(compared: Compared | None) -> list[str]:
    if compared is None:
        return ["", ""]
    behind = "" if compared.behind == 0 else f"{compared.behind:.4f} ± {compared.error:.4f}"
    return [f"{compared.score:.4f}", behind]


def _print(line: str, console: Console) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_notes(notes: Iterable[str], console: Console) -> None:
    for note in notes:
        console.print(f"Note: {note}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
