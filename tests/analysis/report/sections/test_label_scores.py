import dataclasses

import numpy as np
import optuna
import pytest

from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Openings
from analysis.ensembles.tasks.multi_label import MultiLabelResults
from analysis.report.inputs import EnsembleInputs, Inspection
from analysis.report.render import render
from analysis.report.sections.label_scores import label_mistakes, label_scores
from analysis.report.summary import opening
from tests.analysis.report.report_inputs import add_trial, made_up_search
from tests.page import Page


@pytest.fixture(scope="module")
def search(labelled_data):
    study = optuna.create_study(study_name="labelled", direction="maximize")
    add_trial(study, 0.8)
    return made_up_search(labelled_data, study)


@pytest.fixture(scope="module")
def ensemble(search):
    return scored(search)


def scored(search):
    """Return an ensemble of the only trial, which predicts at random with a bias towards the truth."""
    data, results = search.data, MultiLabelResults(search.data)

    def predict(split, seed):
        labels = data.labels[data.splits[split]]
        noise = np.random.default_rng(seed).normal(size=(1, *labels.shape))
        return 1 / (1 + np.exp(-noise - 1.5 * (2 * labels - 1))), results.sample(split, "auroc")

    (on_select, select), (on_test, test) = predict("select", 0), predict("test", 1)
    comparison = results.compare(on_select, select, "mean")
    evaluation = results.evaluate(on_test, comparison.combination, test, 0)
    chosen = ChosenEnsemble(
        tuple(search.ranked), (0.8,), comparison, results.diversity(on_select, select), "none", len(select.labels), 10
    )
    result = EnsembleResult(chosen, evaluation, Openings(1, 0))
    return EnsembleInputs(result, "labelled", on_test)


def test_every_label_has_its_scores_and_its_curves(search, ensemble):
    section = label_scores(search, ensemble)
    metrics, by_label, at_thresholds, by_patient, at_thresholds_of_patients, *panels = section.blocks
    assert by_patient.title == "Scores by label and patient" and "A patient has the labels of any image" in (
        by_patient.how_to_read
    )
    data = search.data
    test, patients = data.splits["test"], data.patients[data.splits["test"]]
    ill = [len(np.unique(patients[data.labels[test, label] == 1])) for label in range(3)]
    assert [int(row[1]) for row in by_patient.rows] == ill
    assert at_thresholds_of_patients.title == "At the threshold of each label by patient"
    assert [row[0] for row in at_thresholds.rows] == list(search.data.class_names)
    assert {"AUROC", "macro F1", "average precision", "log loss"} <= {row[0] for row in metrics.rows}
    assert [row[0] for row in by_label.rows] == list(search.data.class_names)
    scores = ensemble.evaluation.ensemble
    for name, row in zip(search.data.class_names, by_label.rows, strict=True):
        assert row[3].startswith(f"{scores.metrics[f'auroc/{name}']:.3f}")
    assert all("label" in panel.how_to_read and "class" not in panel.how_to_read for panel in panels)
    assert all("over labels" in panel.caveat for panel in panels[:2])
    roc, precision_recall, calibration = (panel.figure for panel in panels)
    assert calibration.layout.yaxis.title.text == "share with the label"
    assert calibration.data[0].text[0].endswith(" predictions")
    assert sum(bin_.count for bin_ in ensemble.evaluation.ensemble.reliability) == 3 * len(data.splits["test"])
    areas = [trace.name for trace in roc.data if "AUC" in trace.name]
    assert len(areas) == 3
    for name, area in zip(search.data.class_names, areas, strict=True):
        assert f"{name} (AUC {scores.metrics[f'auroc/{name}']:.3f}" in area
    assert "Brier score" in panels[2].caveat and len(calibration.data) == 2
    assert sum("(AP" in (trace.name or "") for trace in precision_recall.data) == 3


def test_labels_are_not_called_classes_and_differing_images_of_a_patient_are_no_warning(search, ensemble):
    first = opening(search, ensemble)
    assert "the same guess for every image reaches" in first.summary and "majority" not in first.summary
    (said,) = [note for note in (*first.notes, *first.facts) if "differ" in note]
    assert said.startswith("A patient has the labels of any image;") and said in first.facts


def test_mistakes_are_those_at_the_thresholds(search, ensemble):
    section = label_mistakes(search, ensemble, Inspection())
    data, test = search.data, search.data.splits["test"]
    combination = ensemble.chosen.comparison.combination
    decided = combination.decide(combination.apply(ensemble.test_predictions))
    for label, gallery in enumerate(section.blocks):
        truth = data.labels[test, label] == 1
        missed, wrong = (truth & ~decided[:, label]).sum(), (~truth & decided[:, label]).sum()
        assert gallery.title == data.class_names[label]
        assert f"{missed} of {truth.sum()} images with the label were missed, {wrong} of" in gallery.caveat
        kinds = [example.lines[0].split(" (")[0] for example in gallery.examples]
        assert kinds == ["missed"] * min(missed, 3) + ["wrongly assigned"] * min(wrong, 3)


def test_of_many_labels_the_most_mistaken_ones_are_shown_and_the_others_named(search):
    names = tuple(f"finding {letter}" for letter in "abcdefghijklmnopqrst")
    labels = (np.random.default_rng(0).random((len(search.data.labels), 20)) < 0.3).astype(np.int64)
    many = dataclasses.replace(search, data=dataclasses.replace(search.data, class_names=names, labels=labels))
    ensemble = scored(many)
    said, *galleries = label_mistakes(many, ensemble, Inspection()).blocks
    shown = [gallery.title for gallery in galleries]
    hidden = [name for name in names if name not in shown]
    assert len(shown) == 14 and shown == sorted(shown)
    assert said.paragraphs == [f"The 14 labels with the most mistakes are shown. Not shown: {', '.join(hidden)}."]
    combination = ensemble.chosen.comparison.combination
    decided = combination.decide(combination.apply(ensemble.test_predictions))
    mistakes = dict(zip(names, (decided != labels[many.data.splits["test"]]).sum(axis=0), strict=True))
    assert min(mistakes[name] for name in shown) >= max(mistakes[name] for name in hidden)


def test_without_saved_predictions_the_page_says_so(search, ensemble):
    without = dataclasses.replace(ensemble, test_predictions=None, why_no_predictions="the file is gone")
    (gallery,) = label_mistakes(search, without, Inspection()).blocks
    assert gallery.missing == "The predictions on test are missing: the file is gone."


def test_the_whole_page_is_drawn(search, ensemble):
    page = Page(render(search, ensemble, Inspection(missing="not measured"), "Made by a test."))
    assert "160 images with 3 labels" in page.text
    assert "Scores by label" in page.text and "wrongly assigned" in page.text
