"""The parts of a report that tell of the ensemble and its test scores."""

from collections.abc import Callable
from functools import partial

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.ensembles.evaluation import Scores
from analysis.report.figures.scores import calibration, confusion, precision_recall, roc
from analysis.report.figures.trials import MissingError, best_value, panel
from analysis.report.inputs import Ensemble, Looked, Search
from analysis.report.page import Block, Section, Table, Text
from analysis.report.sections.confused_pair import confused_pair
from analysis.report.sections.search import epoch_seconds, leaks, number, sentence
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Probabilities
from analysis.trials import network_of
from trainables.core.metric_names import SENSITIVITY
from trainables.core.training.classification_metrics import class_keys

_Draw = Callable[[Probabilities, NDArray[np.int64], tuple[str, ...]], go.Figure]
_FIGURES = (
    *("dice", "iou", "dataset_dice", "dataset_iou"),
    *("balanced_accuracy", "macro_f1", "accuracy", "auroc", "average_precision"),
    *(SENSITIVITY, "log_loss", "brier", "ece"),
)


def about_test(search: Search, ensemble: Ensemble) -> str:
    """What every test score is said with."""
    data, scored = search.data, ensemble.evaluation
    held = f"{len(data.splits['test'])} images in {scored.groups} groups"
    return f"The test split ({data.test_told}) has {held} and was {ensemble.opened}."


def models(search: Search, ensemble: Ensemble, looked: Looked) -> Section:
    """The ensemble and its members beside each other, and how the rules compared."""
    metric, scored, compared = search.metric, ensemble.evaluation, ensemble.comparison
    rows = [
        [
            f"ensemble ({compared.chosen})",
            "1",
            *([] if search.data.folds else [""]),
            number(compared.score),
            with_interval(scored.ensemble, metric),
            *_total(ensemble, looked),
            "",
        ]
    ]
    for at, (record, weight, alone, scores) in enumerate(
        zip(ensemble.members, compared.combination.weights, ensemble.alone, scored.members, strict=True)
    ):
        profile = looked.profiles[at] if at < len(looked.profiles) else None
        rows.append(
            [
                f"trial {record.number}, {network_of(record)}",
                f"{weight:.3f}",
                *([] if search.data.folds else [number(best_value(record, metric))]),
                number(alone),
                with_interval(scores, metric),
                f"{profile.parameters / 1e6:.2f}" if profile else "",
                f"{profile.latency_ms:.1f}" if profile else "",
                number(epoch_seconds(record), 2),
            ]
        )
    device = looked.profiles[0].device if looked.profiles else ""
    timed = (
        f"Latency is of one image, the median of up to 50, on {device}, with whatever else ran there."
        if device
        else f"No latency: {looked.why_none}."
    )
    steering, selection = search.data.steering_told, search.data.selection_told
    scores_on = ["out of fold"] if search.data.folds else ["tune", "select"]
    columns = ("model", "weight", *scores_on, "test [95%]", "million parameters", "latency, ms", "s/epoch")
    table = Table(
        "Model comparison",
        f"{metric} on each split: {steering} chose the members, {selection} the rule, test nothing. "
        f"{timed} The ensemble runs its voters one after the other.",
        columns,
        rows,
        [0],
    )
    rules = Table(
        "How the rules compared",
        f"{metric} on {selection}, on images that a rule was not fitted to. The simplest within a standard error of "
        "the best is taken.",
        ("rule, simplest first", "score", "behind the best", "standard error"),
        [[rule.rule, number(rule.score), number(rule.behind), number(rule.error)] for rule in compared.rules],
        [at for at, rule in enumerate(compared.rules) if rule.rule == compared.chosen],
    )
    notes = [Text("", list(map(sentence, compared.notes)))] * bool(compared.notes)
    return Section("The models", "models", [table, rules, *notes], about_test(search, ensemble), leaks(search))


def _total(ensemble: Ensemble, looked: Looked) -> tuple[str, str]:
    voting = ensemble.comparison.combination.voters()
    if len(looked.profiles) <= max(voting):
        return "", ""
    profiles = [looked.profiles[at] for at in voting]
    parameters = sum(profile.parameters for profile in profiles) / 1e6
    return f"{parameters:.2f}", f"{sum(profile.latency_ms for profile in profiles):.1f}"


def with_interval(scores: Scores, name: str) -> str:
    """A test figure and its interval, as text."""
    if name not in scores.metrics:
        return ""
    interval = scores.intervals.get(name)
    return f"{scores.metrics[name]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def scores(search: Search, ensemble: Ensemble) -> Section:
    """Confusion, ROC, precision and recall, calibration, on ``test``."""
    data, scored, best = search.data, ensemble.evaluation, ensemble.members[ensemble.best]
    labels, names = data.labels[data.splits["test"]], data.class_names
    count, groups = f"{len(labels)} test images in {scored.groups} groups", _caveats(ensemble)
    alone = f"trial {best.number}"
    confused = {"ensemble": scored.ensemble.confusion} | {
        f"trial {record.number}": of_member.confusion
        for record, of_member in zip(ensemble.members, scored.members, strict=True)
    }
    bins = {"ensemble": scored.ensemble.reliability, alone: scored.members[ensemble.best].reliability}
    blocks: list[Block] = [
        figures_table(ensemble),
        _by_class(scored.ensemble, names),
        panel(
            "Confusion matrix",
            "Rows are what an image is, columns what it was taken for; the darker, the larger the share of the row; "
            "the menu shows the members.",
            f"{count}; counts, so without intervals. {groups}",
            partial(confusion, confused, names),
            120 + 70 * len(names),
        ),
        confused_pair(search, ensemble),
        panel(
            "ROC",
            "Each class against the rest, by the ensemble: the further to the upper left, the better the class is told "
            "apart at some threshold.",
            f"{count}; {_macro(scored.ensemble, 'auroc', 'AUC over classes')}; the curves have no band. {groups}",
            partial(_of_ensemble, ensemble, roc, labels, names),
        ),
        panel(
            "Precision and recall",
            "Each class against the rest, by the ensemble: the further to the upper right, the better; dotted is "
            "guessing, the share of the class.",
            f"{count}; {_macro(scored.ensemble, 'average_precision', 'average precision over classes')}; what a class "
            f"scores depends on how common it is. {groups}",
            partial(_of_ensemble, ensemble, precision_recall, labels, names),
        ),
        panel(
            "Calibration",
            "The share that is right by the confidence stated, a marker a bin, larger with more images: below the "
            "diagonal is overconfident.",
            f"{count}; {_macro(scored.ensemble, 'brier', 'Brier score')}, expected calibration error "
            f"{number(scored.ensemble.metrics.get('ece'), 3)}, which is biased upwards and has no interval; bins of "
            "few images scatter.",
            partial(calibration, bins),
        ),
    ]
    return Section("Test scores", "scores", blocks, about_test(search, ensemble), leaks(search))


def _caveats(ensemble: Ensemble) -> str:
    return " ".join(sentence(note.replace(" (*)", "")) for note in ensemble.evaluation.caveats())


def figures_table(ensemble: Ensemble) -> Table:
    """The ensemble's figures on ``test`` beside those of the best member."""
    scored, best = ensemble.evaluation, ensemble.members[ensemble.best]
    rows = [
        [
            name.replace("_", " "),
            with_interval(scored.ensemble, name),
            with_interval(scored.members[ensemble.best], name),
        ]
        for name in _FIGURES
        if name in scored.ensemble.metrics
    ]
    alone = ensemble.comparison.combination.voters() == [ensemble.best]
    versus = {True: "The ensemble is this member alone.", False: "They were not tested against each other."}[alone]
    if scored.p_value is not None:
        versus = (
            f"Against each other by {ensemble.comparison.metric}: p = {scored.p_value:.3g}, exchanging whole groups."
        )
    return Table(
        "Figures",
        f"95% intervals from a bootstrap of whole groups. {versus} {_caveats(ensemble)}",
        ("figure", "ensemble", f"best member (trial {best.number})"),
        rows,
    )


def _by_class(ensemble: Scores, names: tuple[str, ...]) -> Table:
    keys = dict(zip(names, class_keys(names), strict=True))
    return Table(
        "Classification report",
        "Recall is how many of a class's images were recognised, precision how many that were taken for it are of it; "
        f"F1 is their harmonic mean. Below {GROUPS_FOR_INTERVAL} groups a class has no interval.",
        ("class", "images", "groups", "recall [95%]", "precision [95%]", "F1 [95%]"),
        [
            [
                recall.name,
                str(recall.images),
                str(recall.groups),
                recall.told(),
                *(with_interval(ensemble, f"{figure}/{keys[recall.name]}") for figure in ("precision", "f1")),
            ]
            for recall in ensemble.recalls
        ],
    )


def _macro(scores_: Scores, name: str, told: str) -> str:
    return f"{told} {with_interval(scores_, name) or 'undefined'}"


def _of_ensemble(ensemble: Ensemble, draw: _Draw, labels: NDArray[np.int64], names: tuple[str, ...]) -> go.Figure:
    if ensemble.on_test is None:
        raise MissingError(f"It needs the predictions of test: {ensemble.why_none}.")
    return draw(ensemble.comparison.combination.apply(ensemble.on_test), labels, names)
