"""Test scores of a multi-label classification: metrics, scores and curves by label, calibration, and mistakes."""

import numpy as np

from analysis.ensembles.tasks.choose import task_results
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.report.page import Block, Example, Gallery, Section, Table, Text
from analysis.report.sections.classification_scores import (
    CurveWords,
    calibration_panel,
    precision_recall_panel,
    roc_panel,
)
from analysis.report.sections.model_comparison import metrics_table
from analysis.report.sections.wording import about_test, leak_warning
from analysis.report.thumbnails import data_uri
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL
from trainables.core.plural import plural

_SHOWN = 3  # of the missed and of the wrong images of each label
_MOST_LABELS = 14
_WORDS = CurveWords(
    "label", "labels", "Images with each label against those without it, predicted by the ensemble.", ""
)


def label_scores(search: SearchInputs, ensemble: EnsembleInputs) -> Section:
    """Show all scores on ``test``."""
    images, groups = len(search.data.splits["test"]), ensemble.evaluation.groups
    size = f"{plural(images, 'test image')} in {plural(groups, 'group')}"
    blocks: list[Block] = [
        metrics_table(ensemble),
        *_label_tables(search, ensemble),
        roc_panel(search, ensemble, size, _WORDS),
        precision_recall_panel(search, ensemble, size, _WORDS),
        calibration_panel(
            ensemble,
            size,
            "How often images have a label that was predicted with a given probability, over all labels. Each marker "
            "is one bin, larger for more predictions. Markers below the diagonal mean that probabilities are too high.",
            ("predicted probability", "share with the label"),
            "prediction",
        ),
    ]
    return Section("Test scores", "scores", blocks, about_test(search, ensemble), leak_warning(search))


def _label_tables(search: SearchInputs, ensemble: EnsembleInputs) -> list[Table]:
    combination = ensemble.chosen.comparison.combination
    rule = combination.operating_points(search.data.class_names)[0].rule
    how_to_read = (
        f"A label is assigned if its probability reaches its threshold, which the rule {rule} chose on "
        f"{search.data.chosen_on}; AUROC and average precision do not depend on it. A label that fewer than "
        f"{GROUPS_FOR_INTERVAL} groups have, or lack, has no intervals."
    )
    of_patients = (
        f"A patient has the labels of any image. A label's probability is the {combination.patients.kind} over a "
        f"patient's images, with a threshold that the rule {rule} chose for patients."
    )
    tables = task_results(search.data).class_tables(ensemble.evaluation)
    explained = {0: how_to_read} | {tables.index(one): of_patients for one in tables if one.headings[1] == "patients"}
    return [
        Table(table.title, explained.get(position, ""), table.headings, table.rows, wrapped=True)
        for position, table in enumerate(tables)
    ]


def label_mistakes(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> Section:  # noqa: ARG001
    """Show the images on which the ensemble is most wrong about each label; of many labels, the most mistaken ones."""
    if ensemble.test_predictions is None:
        missing = f"The predictions on test are missing: {ensemble.why_no_predictions}."
        blocks: list[Block] = [Gallery("", "", "", (), missing)]
    else:
        names, shown = search.data.class_names, _most_mistaken(search, ensemble)
        blocks = [_mistakes(search, ensemble, label, names[label]) for label in shown]
        if hidden := [name for label, name in enumerate(names) if label not in shown]:
            left_out = f"The {_MOST_LABELS} labels with the most mistakes are shown. Not shown: {', '.join(hidden)}."
            blocks.insert(0, Text("", [left_out]))
    return Section("Mistakes", "mistakes", blocks, about_test(search, ensemble), leak_warning(search))


def _most_mistaken(search: SearchInputs, ensemble: EnsembleInputs) -> list[int]:
    """Return the labels with the most mistakes, at most ``_MOST_LABELS``, in the order of the labels."""
    assert ensemble.test_predictions is not None
    probabilities = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions)
    found = probabilities >= np.array(ensemble.evaluation.ensemble.thresholds)
    mistakes = (found != (search.data.labels[search.data.splits["test"]] == 1)).sum(axis=0)
    most: list[int] = np.argsort(-mistakes, kind="stable")[:_MOST_LABELS].tolist()
    return sorted(most)


def _mistakes(search: SearchInputs, ensemble: EnsembleInputs, label: int, name: str) -> Gallery:
    assert ensemble.test_predictions is not None
    data, test = search.data, search.data.splits["test"]
    probabilities = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions)[:, label]
    present, found = data.labels[test, label] == 1, probabilities >= ensemble.evaluation.ensemble.thresholds[label]
    missed = np.flatnonzero(present & ~found)
    wrong = np.flatnonzero(~present & found)
    pixels = data.images(ensemble.best_trial.config["image_size"])
    examples = []
    for kind, positions, sign in (("missed", missed, 1), ("wrongly assigned", wrong, -1)):
        for position in positions[np.argsort(sign * probabilities[positions], kind="stable")][:_SHOWN].tolist():
            index = int(test[position])
            lines = [f"{kind} (probability {probabilities[position]:.2f})", f"labels: {data.describe_label(index)}"]
            if len(search.file_names):
                lines.append(search.file_names[index])
            examples.append(Example([(data_uri(pixels[index]), "test image")], lines, flagged=True))
    return Gallery(
        name,
        "Test images whose label the ensemble missed or assigned wrongly, largest errors first.",
        f"{len(missed)} of {plural(int(present.sum()), 'image')} with the label were missed, {len(wrong)} of "
        f"{(~present).sum()} without it got it wrongly. At most {_SHOWN} of each are shown.",
        examples,
        "" if examples else "The ensemble decided rightly on all test images.",
    )
