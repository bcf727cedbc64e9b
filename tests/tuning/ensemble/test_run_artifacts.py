import json
from dataclasses import replace

from analysis.statistics.selection_bias import SelectionBias
from tests.tuning.ensemble.made_up import METRIC, Inference, find
from tuning.ensemble.run_artifacts import run_files, run_metrics


def test_metrics_are_those_of_the_best_trial_of_select_and_of_test(study, data):
    result = find(study, data, Inference(data))
    metrics = run_metrics(result)
    assert metrics[f"best_{METRIC}"] == 0.9
    assert metrics[f"select_{METRIC}"] == result.chosen.comparison.score
    assert metrics[f"select_{METRIC}_corrected"] == result.chosen.comparison.corrected
    assert metrics["test_ece"] == result.evaluation.ensemble.metrics["ece"]


def test_with_folds_scores_are_corrected_for_choosing_members(study, data):
    result = find(study, data, Inference(data))
    chosen = replace(result.chosen, folds=2, selection_bias=SelectionBias(3, 0.7, 0.61, 2, 0.8, 0.72))
    metrics = run_metrics(replace(result, chosen=chosen))
    assert metrics[f"best_{METRIC}_corrected"] == 0.61
    assert metrics[f"oof_{METRIC}_corrected"] == 0.72
    assert f"oof_{METRIC}" in metrics
    assert not any(name.startswith("select_") for name in metrics)


def test_every_file_with_test_scores_describes_the_test_split(study, data):
    result = find(study, data, Inference(data))
    files = run_files(result, replace(data, split="published", test_twins=2))
    leak = "2 of 50 test images share their group with training images: test scores measure memory"
    assert files.keys() == {
        "ensemble.json", "evaluation.json", "confusion_matrix.json", "classification_report.txt",
        *(f"members/trial-{number:04d}.txt" for number in range(4)),
    }  # fmt: skip
    header = "test: the published test split; opened 3 times, 2 of them by other searches; " + leak
    for name, text in files.items():
        if name.endswith(".txt"):
            assert text.splitlines()[0] == header
    ensemble, evaluation = json.loads(files["ensemble.json"]), json.loads(files["evaluation.json"])
    assert ensemble["test"]["leak"] == evaluation["leak"] == leak
    assert [member["trial"] for member in ensemble["members"]] == [1, 3, 2, 0]
    assert ensemble["members"][0]["test"] == evaluation["members"][0]
    assert sum(bin_["count"] for bin_ in evaluation["ensemble"]["reliability"]) == 50
