"""Cross-validated trials with a real fault that strikes once, in the second of three folds."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import trainables.core.training.cross_validation
import trainables.worker.trainable
from tests.faults.training import CONFIG, FAULTS, METRIC, EndsTime, WatchedDataset, run
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.worker.checkpoint_io import read_models, read_out_of_fold
from trainables.worker.inference import infer

pytestmark = pytest.mark.ray

SHORT = CONFIG | {"epochs": 2}


@pytest.fixture(scope="module")
def undisturbed(cluster, folded_data, tmp_path_factory):
    """The record of the same trial without a fault."""
    (record,) = run(tmp_path_factory.mktemp("undisturbed"), folded_data, [SHORT])
    return record


@dataclass(frozen=True)
class StruckFolds(WatchedDataset):
    """A data set that logs every epoch of every fold, and strikes once, after the first epoch of the second fold."""

    fault: str = ""
    fold_s: float = 0.0

    def watch(self):
        if trainables.core.training.cross_validation.fit.__name__ == "logging_fit":
            return
        fit = trainables.core.training.cross_validation.fit

        def logging_fit(config, data, **options):
            number = 1 + [list(fold) for fold in self.folds].index(list(data.splits["tune"]))
            for result in fit(config, data, **options):
                with (self.folder / "epochs.txt").open("a") as file:
                    file.write(f"{number}.{result.epoch} ")
                time.sleep(self.fold_s / config.epochs)
                if (number, result.epoch) == (2, 1) and self.fault and not (self.folder / "struck").exists():
                    (self.folder / "struck").touch()
                    FAULTS[self.fault](self.folder)
                yield result

        trainables.core.training.cross_validation.fit = logging_fit

    def trained(self):
        return (self.folder / "epochs.txt").read_text().split()


def models_of(record):
    return read_models(record.epochs[-1].checkpoint)


def check_as_if_undisturbed(record, undisturbed):
    assert record.state == "COMPLETE"
    assert [step.epoch for step in record.epochs] == [1, 2, 3]
    for ours, theirs in zip(record.epochs, undisturbed.epochs, strict=True):
        timeless = {"epoch_seconds": 0.0}
        assert ours.metrics | timeless == theirs.metrics | timeless
    for ours, theirs in zip(models_of(record), models_of(undisturbed), strict=True):
        assert all(torch.equal(ours.state.tensors[name], tensor) for name, tensor in theirs.state.tensors.items())
    ours, theirs = (read_out_of_fold(trial.epochs[-1].checkpoint) for trial in (record, undisturbed))
    np.testing.assert_array_equal(ours.images, theirs.images)
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("is killed", marks=pytest.mark.slow),
        pytest.param("finds its checkpoint torn", marks=pytest.mark.faults),
    ],
)
def test_a_trial_whose_worker_dies_in_a_fold_restarts_that_fold(undisturbed, folded_data, tmp_path, fault):
    """If the checkpoint of the previous fold is damaged, it restarts with the first fold."""
    data = StruckFolds.of(folded_data, tmp_path, fault=fault)
    (record,) = run(tmp_path, data, [SHORT])
    check_as_if_undisturbed(record, undisturbed)
    again = ["1.1", "1.2"] if "torn" in fault else []
    assert data.trained() == ["1.1", "1.2", "2.1", *again, "2.1", "2.2", "3.1", "3.2"]


@pytest.mark.faults
def test_the_timeout_applies_to_an_epoch_and_not_to_a_fold(undisturbed, folded_data, tmp_path):
    data = StruckFolds.of(folded_data, tmp_path, fold_s=8.0)
    (record,) = run(tmp_path, data, [SHORT], timeout_s=7.0, max_failures=0)
    check_as_if_undisturbed(record, undisturbed)


@pytest.mark.faults
def test_a_trial_that_hangs_in_a_fold_is_completed(undisturbed, folded_data, tmp_path):
    data = StruckFolds.of(folded_data, tmp_path, fault="hangs")
    (record,) = run(tmp_path, data, [SHORT], timeout_s=15.0)
    check_as_if_undisturbed(record, undisturbed)


@pytest.mark.faults
def test_a_trial_that_the_time_budget_stops_between_folds_is_continued(undisturbed, folded_data, tmp_path):
    data = StruckFolds.of(folded_data, tmp_path)
    (stopped,) = run(tmp_path, data, [SHORT], watch=EndsTime)
    assert (stopped.state, stopped.stopped, [step.epoch for step in stopped.epochs]) == ("RUNNING", None, [1, 2])
    (record,) = run(tmp_path, data, [SHORT])
    check_as_if_undisturbed(record, undisturbed)
    assert data.trained() == ["1.1", "1.2", "2.1", "2.2", "3.1", "3.2"]


@pytest.mark.slow
def test_a_batch_that_is_too_large_for_the_gpu_is_halved_from_that_fold_on(cluster, folded_data, tmp_path):
    data = StruckFolds.of(folded_data, tmp_path, fault="runs out of GPU memory")
    (record,) = run(tmp_path, data, [SHORT])
    assert record.state == "COMPLETE"
    assert [model.config.batch_size for model in models_of(record)] == [16, 8, 8]
    assert "continued with 8 images at a time" in record.failures[0]


@pytest.mark.slow
def test_a_checkpoint_holds_all_folds_and_frozen_stages_are_stored_once(undisturbed, folded_data):
    last = undisturbed.epochs[-1]
    assert (undisturbed.best, last.metrics["best_epoch"]) == (last, 3.0)
    for step in undisturbed.epochs:  # with every fold the value covers more images; it need not improve
        assert step.metrics[f"best_{METRIC}"] == step.metrics[f"tune/{METRIC}"]
    models = models_of(undisturbed)
    assert len(models) == 3
    assert all(name.startswith("model.") for name in models[0].state.tensors)
    session = last.checkpoint.rsplit("/", 3)[0]
    assert len(list(Path(session, "frozen").iterdir())) == 1


@pytest.mark.slow
def test_a_member_is_the_mean_of_its_models_and_each_predicts_its_own_fold(undisturbed, folded_data):
    """Out-of-fold predictions are read; with views, each fold is predicted again by the model that did not see it."""
    place = undisturbed.epochs[-1].checkpoint
    pool, test = folded_data.splits["pool"], folded_data.splits["test"]

    def inferred(split, views="none"):
        (member,) = infer(folded_data, [place], split, bundle={"CPU": 1}, views=views)
        return member

    def predicted(model, indices, views="none"):
        classifier = trained_classifier(model, torch.device("cpu"))
        return predict_probabilities(classifier, folded_data.images(32), indices, views=views)

    models = read_models(place)
    np.testing.assert_allclose(inferred("test"), np.mean([predicted(each, test) for each in models], axis=0), atol=1e-6)
    np.testing.assert_array_equal(inferred("pool"), read_out_of_fold(place).of(pool))
    turned = inferred("pool", "flips")
    for model, fold in zip(models, folded_data.folds, strict=True):
        rows = np.searchsorted(pool, fold)
        np.testing.assert_array_equal(inferred("pool")[rows], predicted(model, fold))
        np.testing.assert_array_equal(turned[rows], predicted(model, fold, "flips"))


@pytest.mark.slow
def test_all_trials_have_the_same_folds(cluster, folded_data, tmp_path):
    records = run(tmp_path, folded_data, [SHORT, SHORT | {"seed": 1, "lr": 1e-2}])
    first, second = (read_out_of_fold(record.epochs[-1].checkpoint) for record in records)
    np.testing.assert_array_equal(first.images, second.images)
    assert not np.array_equal(first.probabilities, second.probabilities)
