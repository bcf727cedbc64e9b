from dataclasses import replace

import pytest

from analysis.ensembles.compare_rules import compare
from analysis.statistics.resampling import Sample
from analysis.statistics.selection_bias import SelectionBias
from tests.tuning.ensemble.made_up import METRIC, Inference, find, quiet
from tuning.ensemble.console_tables import show, show_choice
from tuning.ensemble.run_artifacts import run_files, run_metrics


def test_tables_fit_into_100_columns(study, data):
    console = quiet()
    show(find(study, data, Inference(data)), data, console)
    printed = console.file.getvalue()
    table = [line for line in printed.splitlines() if not line.startswith(("Note", "Chosen"))]
    assert max(map(len, table)) <= 100
    for line in (
        "Test set: 50 images in 25 groups, opened 3 times, 2 of them by other searches",
        f"{METRIC} on select: 50 images in 25 groups",
        "95% interval",
        "the correlation of their errors is",
        "scratch_cnn",
        "Recall of the ensemble, by class",
        "true \\ predicted",
    ):
        assert line in printed


def test_out_of_fold_scores_are_shown_with_their_selection_bias(study, data):
    result = find(study, data, Inference(data))
    chosen = replace(result.chosen, folds=2, selection_bias=SelectionBias(3, 0.7, 0.6, 2, 0.8, 0.7))
    console = quiet()
    show(replace(result, chosen=chosen), data, console)
    printed = console.file.getvalue()
    assert f"{METRIC} on out-of-fold predictions of 2 folds: 50 images" in printed
    assert "The search chose among 3 trials on these same images: the best has" in printed
    assert "select" not in printed


@pytest.mark.parametrize("metric", ["log_loss", "balanced_accuracy"])
def test_the_difference_of_a_rule_is_its_score_minus_that_of_the_reference(study, data, metric):
    chosen, select = find(study, data, Inference(data)).chosen, data.splits["select"]
    sample = Sample(data.labels[select], data.groups[select], data.class_names, metric)
    comparison = compare(Inference(data)(chosen.checkpoints, "select"), sample)
    console = quiet()
    show_choice(replace(chosen, comparison=comparison), console)
    printed = console.file.getvalue()
    scores = {compared.rule: compared.score for compared in comparison.rules}
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    shown = {row[0] + scaled: row[at] for row in rows for scaled, at in (("", 2), ("-scaled", 4)) if row[at]}
    assert len(shown) > 5
    for rule, difference in shown.items():
        assert float(difference.split(" ± ")[0]) == pytest.approx(scores[rule] - scores[comparison.reference], abs=6e-5)
    assert ("; lower is better" in printed) == (metric == "log_loss")


@pytest.mark.parametrize("metric", [METRIC, f"patient_{METRIC}"])
def test_figures_of_patients_follow_those_of_images(study, data, metric):
    """Patients have the two images of a group; one with an image of each class counts as b."""
    data = replace(data, patients=data.groups, healthy="a")
    result = find(study, data, Inference(data), metric)
    console = quiet()
    show(result, data, console)
    printed = console.file.getvalue()
    sentences = ("Note", "Chosen", "Images of a patient", "Operating point", "The ensemble against")
    table = [line for line in printed.splitlines() if not line.startswith(sentences)]
    assert max(map(len, table)) <= 100
    of_patients = result.evaluation.patients
    assert of_patients.units == 25
    by_image, by_patient = printed.split("By patient: 25 patients")
    assert f"{result.evaluation.ensemble.metrics['accuracy']:.4f}" in by_image
    assert f"{of_patients.ensemble.metrics['accuracy']:.4f}" in by_patient
    assert f"Images of a patient: {result.chosen.comparison.patients.describe()}." in printed
    p_value = (of_patients if metric.startswith("patient_") else result.evaluation).p_value
    assert f"by {metric}: p = {p_value:.3g}" in by_patient
    assert ("on test, by patient" in by_patient) == metric.startswith("patient_")
    assert "Confusion matrix by patient" in " ".join(by_patient.split())
    metrics = run_metrics(result)
    assert metrics["test_patient_sensitivity"] == of_patients.ensemble.points[0].metrics()["sensitivity"]
    for chosen in result.chosen.comparison.points:
        assert f"Operating point by {chosen.point.unit}: {chosen.describe()}." in printed
        assert f"by {chosen.point.unit}: {chosen.point.describe()}" in " ".join(printed.split())
    assert metrics["test_patient_accuracy"] == of_patients.ensemble.metrics["accuracy"]
    assert metrics["select_patient_accuracy"] == result.chosen.comparison.figures["patient_accuracy"]
    assert "classification_report_patients.txt" in run_files(result, data)
