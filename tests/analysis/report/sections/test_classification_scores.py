import dataclasses

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from analysis.report.sections.classification_scores import calibration_panel, classification_scores
from analysis.report.sections.wording import with_interval
from tests.analysis.report.report_inputs import made_up_ensemble, made_up_search, made_up_study, with_result


def test_scores_by_class_match_scikit_learn(search, ensemble):
    data = search.data
    table = classification_scores(search, ensemble).blocks[1]
    rows = [dict(zip(table.headings, row, strict=True)) for row in table.rows]
    labels = data.labels[data.splits["test"]]
    predicted = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions).argmax(axis=1)
    precision, _, f1, images = precision_recall_fscore_support(labels, predicted, zero_division=0)
    assert [row["class"] for row in rows] == list(data.class_names)
    assert [int(row["images"]) for row in rows] == images.tolist()
    for index, row in enumerate(rows):
        assert float(row["precision [95% interval]"].split(" [")[0]) == pytest.approx(precision[index], abs=6e-4)
        assert float(row["F1 [95% interval]"].split(" [")[0]) == pytest.approx(f1[index], abs=6e-4)


def test_images_and_patients_stand_side_by_side(small_data):
    order = np.argsort(small_data.labels, kind="stable")
    patients = np.empty(len(order), dtype=np.int64)
    patients[order] = np.arange(len(order)) // 8
    search = made_up_search(dataclasses.replace(small_data, patients=patients), made_up_study())
    ensemble = made_up_ensemble(search)
    metrics, _, by_patient, matrix, of_patients, *_ = classification_scores(search, ensemble).blocks
    number = ensemble.best_trial.number
    assert metrics.headings == (
        "metric", "ensemble, by image", "ensemble, by patient",
        f"best member (trial {number}), by image", f"best member (trial {number}), by patient",
    )  # fmt: skip
    test = ensemble.evaluation
    row = next(row for row in metrics.rows if row[0] == "balanced accuracy")
    assert row[1:3] == [
        with_interval(scores, "balanced_accuracy") for scores in (test.ensemble, test.patients.ensemble)
    ]
    assert (matrix.title, of_patients.title) == ("Confusion matrix", "Confusion matrix by patient")
    assert by_patient.headings[1] == "patients"
    assert sum(int(row[1]) for row in by_patient.rows) == test.patients.units < len(search.data.splits["test"])
    assert of_patients.caveat.startswith(f"{test.patients.units} test patients; the predictions for a patient's images")


def test_an_ensemble_of_one_member_has_one_calibration_curve(search, ensemble):
    """Two equal curves would hide one another."""
    evaluation = ensemble.evaluation
    best = evaluation.members[ensemble.best_member]
    alike = dataclasses.replace(evaluation.ensemble, reliability=best.reliability)
    sole = with_result(ensemble, evaluation=dataclasses.replace(evaluation, ensemble=alike))
    assert _names_of_curves(calibration_panel(ensemble, "", "")) == {
        "ensemble", f"trial {ensemble.best_trial.number}", "perfect calibration",
    }  # fmt: skip
    assert _names_of_curves(calibration_panel(sole, "", "")) == {"ensemble", "perfect calibration"}


def _names_of_curves(panel):
    return {trace.name for trace in panel.figure.data}
