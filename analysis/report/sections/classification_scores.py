"""Test scores of a classification: metrics, scores by class, confusion, ROC, precision and recall, calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.report.figures.classification_curves import calibration, confusion, precision_recall, roc
from analysis.report.figures.style import NothingToDrawError, draw_panel
from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.report.page import Block, Panel, Section, Table
from analysis.report.sections.confused_pair import confused_pair
from analysis.report.sections.decisions import decision_blocks
from analysis.report.sections.model_comparison import metrics_table, test_caveats
from analysis.report.sections.wording import about_test, leak_warning, number, with_interval
from analysis.statistics.calibration import BINS
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Probabilities
from trainables.core.plural import plural
from trainables.core.training.metrics.classification_metrics import class_keys

_Draw = Callable[[Probabilities, NDArray[np.int64], tuple[str, ...]], go.Figure]


@dataclass(frozen=True)
class CurveWords:
    """Words about curves, each of one class or of one label.

    Attributes:
        noun: ``class`` or ``label``.
        nouns: Its plural.
        against: Sentence that says which images a curve compares.
        left_out: Sentence that says which ROC curves are not drawn, or empty.
    """

    noun: str = "class"
    nouns: str = "classes"
    against: str = "Images of each class against all others, predicted by the ensemble."
    left_out: str = "Of two classes only one is shown, because the curve of the other is its mirror image."


def classification_scores(search: SearchInputs, ensemble: EnsembleInputs) -> Section:
    """Show all scores on ``test``."""
    test, names = ensemble.evaluation, search.data.class_names
    size = f"{plural(len(search.data.splits['test']), 'test image')} in {plural(test.groups, 'group')}"
    blocks: list[Block] = [
        metrics_table(ensemble),
        _class_table(test.ensemble, names),
        *([_class_table(test.patients.ensemble, names, "patient")] if test.patients else []),
        _confusion_panel(search, ensemble, test, size),
        *([_patient_panel(search, ensemble, test.patients)] if test.patients else []),
        *decision_blocks(search, ensemble),
        confused_pair(search, ensemble),
        roc_panel(search, ensemble, size, CurveWords()),
        precision_recall_panel(search, ensemble, size, CurveWords()),
        calibration_panel(
            ensemble,
            size,
            "How often predictions of a given confidence are correct. Each marker is one bin of images, larger for "
            "more images. Markers below the diagonal mean that the model is overconfident.",
        ),
    ]
    return Section("Test scores", "scores", blocks, about_test(search, ensemble), leak_warning(search))


def _class_table(scores: Scores, class_names: tuple[str, ...], unit: str = "image") -> Table:
    keys = dict(zip(class_names, class_keys(class_names), strict=True))
    return Table(
        "Scores by class" if unit == "image" else f"Scores by class and {unit}",
        f"Recall (sensitivity) is the share of a class's {unit}s that the ensemble recognised. Precision (positive "
        f"predictive value) is the share of the {unit}s assigned to a class that belong to it. F1 is the harmonic mean "
        f"of the two. A class with fewer than {GROUPS_FOR_INTERVAL} groups has no interval.",
        ("class", f"{unit}s", "groups", "recall [95% interval]", "precision [95% interval]", "F1 [95% interval]"),
        [
            [
                recall.name,
                str(recall.images),
                str(recall.groups),
                recall.describe(),
                *(with_interval(scores, f"{metric}/{keys[recall.name]}") for metric in ("precision", "f1")),
            ]
            for recall in scores.recalls
        ],
    )


def _confusion_panel(
    search: SearchInputs, ensemble: EnsembleInputs, test: Evaluation, size: str, unit: str = "image"
) -> Panel:
    names = search.data.class_names
    counts = {"ensemble": test.ensemble.confusion} | {
        f"trial {record.number}": scores.confusion
        for record, scores in zip(ensemble.chosen.members, test.members, strict=True)
    }
    return draw_panel(
        "Confusion matrix" if unit == "image" else f"Confusion matrix by {unit}",
        f"Rows are true classes, columns are predicted classes. Numbers are {unit}s and their share of the row, which "
        "is darker for larger shares. Use the menu to see the members.",
        f"{size}. Counts have no intervals. {test_caveats(ensemble)}",
        partial(confusion, counts, names, unit),
        120 + 56 * len(names),
    )


def _patient_panel(search: SearchInputs, ensemble: EnsembleInputs, patients: Evaluation) -> Panel:
    rule = ensemble.chosen.comparison.combination.patients.kind
    size = f"{plural(patients.units, 'test patient')}; the predictions for a patient's images are combined by {rule}"
    return _confusion_panel(search, ensemble, patients, size, "patient")


def roc_panel(search: SearchInputs, ensemble: EnsembleInputs, size: str, words: CurveWords) -> Panel:
    """Draw the ROC curves of the ensemble."""
    return draw_panel(
        "ROC curves",
        f"{' '.join(filter(None, [words.against, words.left_out]))} A curve closer to the upper left corner separates "
        f"its {words.noun} better. The dotted diagonal is chance.",
        f"{size}. Mean AUC over {words.nouns} {_value(ensemble, 'auroc')}. The curves are drawn without confidence "
        f"bands. {test_caveats(ensemble)}",
        partial(_draw_ensemble, search, ensemble, partial(roc, healthy=search.data.healthy)),
    )


def precision_recall_panel(search: SearchInputs, ensemble: EnsembleInputs, size: str, words: CurveWords) -> Panel:
    """Draw the precision-recall curves of the ensemble."""
    return draw_panel(
        "Precision-recall curves",
        f"{words.against} A curve closer to the upper right corner is better. A dotted line is chance, which equals "
        f"the {words.noun}'s share of the images.",
        f"{size}. Mean average precision over {words.nouns} {_value(ensemble, 'average_precision')}. Precision depends "
        f"on how common a {words.noun} is in this test set. {test_caveats(ensemble)}",
        partial(_draw_ensemble, search, ensemble, precision_recall),
    )


def calibration_panel(
    ensemble: EnsembleInputs,
    size: str,
    how_to_read: str,
    axes: tuple[str, str] = ("confidence", "accuracy"),
    noun: str = "image",
) -> Panel:
    """Draw the reliability diagrams of the ensemble and of its best member, unless both are the same.

    Args:
        ensemble: The ensemble.
        size: Phrase for the size of the test set.
        how_to_read: Reading instructions.
        axes: Titles of the axes.
        noun: Singular of what the bins count.
    """
    scores, best = ensemble.evaluation, ensemble.best_trial
    bins = {"ensemble": scores.ensemble.reliability}
    of_best = scores.members[ensemble.best_member].reliability
    bins |= {} if of_best == scores.ensemble.reliability else {f"trial {best.number}": of_best}
    return draw_panel(
        "Calibration",
        how_to_read,
        f"{size}, in {BINS} bins of equal width; empty bins are omitted. Brier score {_value(ensemble, 'brier')}. "
        f"Expected calibration error {number(scores.ensemble.metrics.get('ece'), 3)}; it is biased upwards and has no "
        f"interval. Bins with few {noun}s are unreliable.",
        partial(calibration, bins, *axes, noun),
    )


def _value(ensemble: EnsembleInputs, metric: str) -> str:
    return with_interval(ensemble.evaluation.ensemble, metric) or "undefined"


def _draw_ensemble(search: SearchInputs, ensemble: EnsembleInputs, draw: _Draw) -> go.Figure:
    if ensemble.test_predictions is None:
        raise NothingToDrawError(f"The predictions on test are missing: {ensemble.why_no_predictions}.")
    data = search.data
    labels, probabilities = data.labels[data.splits["test"]], ensemble.test_predictions
    return draw(ensemble.chosen.comparison.combination.apply(probabilities), labels, data.class_names)
