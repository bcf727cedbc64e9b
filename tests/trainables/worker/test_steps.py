import dataclasses
import tempfile

import numpy as np
import pytest
import torch

from trainables.core.metric_names import Objective, is_better
from trainables.core.models.checkpoints.checkpoint import load_checkpoint, save_frozen
from trainables.core.training.fold_checkpoint import load_fold_checkpoint
from trainables.worker.report_keys import CHECKPOINT_RANK
from trainables.worker.steps import epoch_steps, fold_steps

METRIC = "log_loss"


def test_each_epoch_is_a_step_that_reports_the_best_so_far(config, small_data):
    steps = list(epoch_steps(config(epochs=4), small_data, Objective(METRIC), None))
    assert [step.report["epoch"] for step in steps] == [1, 2, 3, 4]
    best = None
    for step in steps:
        value = step.report[f"tune/{METRIC}"]
        improved = is_better(METRIC, value, best)
        best = value if improved else best
        assert step.report[f"best_{METRIC}"] == best
        assert step.report[CHECKPOINT_RANK] == (step.report["epoch"] if improved else 0)


def test_a_trial_on_grades_reports_their_metrics_and_marks_its_checkpoint(config, small_data, tmp_path):
    kappa, error = "quadratic_weighted_kappa", "mean_absolute_error"
    grades = dataclasses.replace(small_data, ordered=True)
    (step,) = epoch_steps(config(epochs=1, loss="ordinal"), grades, Objective(error), None)
    assert all(step.report[f"best_{name}"] == step.report[f"tune/{name}"] for name in (kappa, error))
    step.save(tmp_path / "1", None)
    assert load_checkpoint(tmp_path / "1").ordered


def test_a_metric_of_patients_decides_the_best_epoch(config, small_data):
    """Each class is one patient, so that the patients' accuracy takes other steps than the images'."""
    data = dataclasses.replace(small_data, patients=small_data.labels)
    metric, best = "patient_log_loss", {}
    steps = list(epoch_steps(config(epochs=5), data, Objective(metric), None))
    for step in steps:
        value, number = step.report[f"tune/{metric}"], step.report["epoch"]
        if is_better(metric, value, best.get(metric)):
            best = {metric: value, "best_epoch": number, "best_patient_macro_f1": step.report["tune/patient_macro_f1"]}
        assert {name: step.report.get(name) for name in ("best_epoch", "best_patient_macro_f1")} == {
            name: value for name, value in best.items() if name != metric
        }
    by_image = [step.report["tune/log_loss"] for step in steps]
    by_patient = [step.report[f"tune/{metric}"] for step in steps]
    assert by_image != by_patient


def test_a_run_continues_from_an_epochs_checkpoint(config, small_data, tmp_path):
    first, *rest = epoch_steps_saved(config(epochs=3), small_data, tmp_path)
    again = list(epoch_steps(config(epochs=3), small_data, Objective(METRIC), load_checkpoint(tmp_path / "1")))
    timeless = {"epoch_seconds": 0.0}
    assert [step.report | timeless for step in again] == [report | timeless for report in rest]
    assert first["best_epoch"] == 1


def epoch_steps_saved(config, data, folder):
    reports = []
    for step in epoch_steps(config, data, Objective(METRIC), None):
        step.save(folder / str(step.report["epoch"]), None)
        reports.append(step.report)
    return reports


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder that holds the models of folds until the trial ends."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_each_fold_is_a_step_that_reports_all_folds_so_far(config, folded_data, tmp_path, scratch):
    """The last step is the best, whatever the metrics of earlier ones, since only its checkpoint has all models."""
    frozen, steps = None, []
    for step in fold_steps(config(epochs=2, freeze_depth=1), folded_data, Objective(METRIC), None):
        if step is None:
            continue
        frozen = frozen or save_frozen(tmp_path / "frozen", step.state, ("backbone.stages.0.",))
        step.save(tmp_path / str(step.report["epoch"]), frozen)
        steps.append(step)
    assert list(scratch.iterdir()) == []
    keys = ("epoch", CHECKPOINT_RANK, "best_epoch")
    assert [tuple(step.report[key] for key in keys) for step in steps] == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    for step in steps:
        assert step.report[f"best_{METRIC}"] == step.report[f"tune/{METRIC}"]

    def load(folder):
        return load_checkpoint(folder, tmp_path / "frozen")

    whole = load_fold_checkpoint(tmp_path / "3", load)
    assert [model.devices for model in whole.models] == [1, 1, 1]
    resumed = []
    for step in fold_steps(
        config(epochs=2, freeze_depth=1), folded_data, Objective(METRIC), load_fold_checkpoint(tmp_path / "2", load)
    ):
        if step is not None:
            step.save(tmp_path / "again", frozen)
            resumed.append(step)
    (last,) = resumed
    timeless = {"epoch_seconds": 0.0}
    assert last.report | timeless == steps[-1].report | timeless
    again = load_fold_checkpoint(tmp_path / "again", load)
    np.testing.assert_array_equal(again.pooled.probabilities, whole.pooled.probabilities)
    for ours, theirs in zip(again.models, whole.models, strict=True):
        assert all(torch.equal(ours.state.tensors[name], tensor) for name, tensor in theirs.state.tensors.items())


def test_a_cancelled_trial_leaves_no_files(config, folded_data, tmp_path, scratch):
    steps = fold_steps(config(epochs=1), folded_data, Objective(METRIC), None)
    step = next(step for step in steps if step is not None)
    step.save(tmp_path / "1", None)
    assert list(scratch.iterdir()) != []
    steps.close()
    assert list(scratch.iterdir()) == []
