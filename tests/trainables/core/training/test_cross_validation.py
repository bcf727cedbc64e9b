import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

import trainables.core.training.cross_validation
from trainables.core.data.splits.folds import POOL
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.frozen_cache import FrozenPrefix
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.training.cross_validation import OutOfFold, cross_validate
from trainables.core.training.fit import fit


def finished(config, data, **begun):
    return [fold for fold in cross_validate(config, data, **begun) if fold is not None]


@pytest.fixture(scope="module")
def undisturbed(folded_data):
    from trainables.core.config import TrainConfig

    config = TrainConfig.from_dict(
        {"backbone": "scratch_cnn", "weights": "random", "image_size": 32, "head": "linear", "optimizer": "adamw"}
        | {"lr": 3e-3, "batch_size": 16, "epochs": 2, "device": "cpu", "freeze_depth": 1, "augmentation": "flip"}
    )
    return config, finished(config, folded_data)


def test_the_pooled_figures_are_scikit_learns_on_all_finished_folds(undisturbed, folded_data):
    _, folds = undisturbed
    assert [fold.number for fold in folds] == [1, 2, 3]
    for done, fold in enumerate(folds, start=1):
        np.testing.assert_array_equal(fold.pooled.images, np.concatenate(folded_data.folds[:done]))
        labels, probabilities = folded_data.labels[fold.pooled.images], fold.pooled.probabilities
        predicted = probabilities.argmax(axis=1)
        expected = {
            "tune/accuracy": accuracy_score(labels, predicted),
            "tune/balanced_accuracy": balanced_accuracy_score(labels, predicted),
            "tune/macro_f1": f1_score(labels, predicted, average="macro"),
            "tune/log_loss": log_loss(labels, probabilities.astype(np.float64), labels=range(3)),
            "tune/auroc": roc_auc_score(labels, probabilities, multi_class="ovr", labels=range(3)),
        }
        for name, value in expected.items():
            assert fold.metrics[name] == pytest.approx(value, abs=1e-5), name


def test_no_prediction_is_of_a_model_that_saw_the_image_or_its_group(undisturbed, folded_data, monkeypatch):
    """What was trained is told by the training itself, and each row is that model's."""
    config, folds = undisturbed
    shown = []

    def spy(config, data, state=None):
        shown.append(data)
        yield from fit(config, data, state)

    monkeypatch.setattr(trainables.core.training.cross_validation, "fit", spy)
    again = finished(config, folded_data)[-1]
    begun = 0
    for fold, data in zip(folded_data.folds, shown, strict=True):
        trained_on = np.union1d(data.splits["fit"], [])
        assert not set(folded_data.groups[trained_on.astype(int)]) & set(folded_data.groups[fold])
        assert not set(trained_on) & set(folded_data.splits["test"])
        *_, last = fit(config, data)
        checkpoint = Checkpoint(last.state, config, data.class_names, data.pixel_format, {})
        model = trained_classifier(checkpoint, torch.device("cpu"))
        alone = predict_probabilities(model, data.images(32), fold)
        np.testing.assert_array_equal(again.pooled.probabilities[begun : begun + len(fold)], alone)
        begun += len(fold)
    np.testing.assert_array_equal(again.pooled.probabilities, folds[-1].pooled.probabilities)


def test_a_run_that_is_taken_up_after_a_fold_equals_an_undisturbed_one(undisturbed, folded_data):
    config, folds = undisturbed
    rest = finished(config, folded_data, done=1, pooled=folds[0].pooled)
    assert [fold.number for fold in rest] == [2, 3]
    for ours, theirs in zip(rest, folds[1:], strict=True):
        assert ours.metrics == theirs.metrics
        np.testing.assert_array_equal(ours.pooled.probabilities, theirs.pooled.probabilities)
        assert all(torch.equal(ours.model.tensors[name], tensor) for name, tensor in theirs.model.tensors.items())


def test_it_is_heard_of_after_every_epoch(config, folded_data):
    heard = [fold is None for fold in cross_validate(config(epochs=2), folded_data, done=1)]
    assert heard == [True, True, False, True, True, False]


def test_a_model_is_kept_without_its_optimizer(undisturbed):
    _, folds = undisturbed
    assert all(name.startswith("model.") for name in folds[0].model.tensors)
    assert not any(name == "tune/loss" for name in folds[0].metrics)  # each fold's own training's, of no use pooled


def test_all_folds_share_the_frozen_stages_outputs(config, folded_data, monkeypatch):
    asked = []
    table = FrozenPrefix.table

    def spy(prefix, indices, *variants):
        asked.append(indices)
        return table(prefix, indices, *variants)

    monkeypatch.setattr(FrozenPrefix, "table", spy)
    monkeypatch.setattr("trainables.core.models.frozen_cache.Cost.pays", lambda *_: True)
    stored = finished(config(freeze_depth=2, epochs=1), folded_data)
    assert asked
    assert all(np.array_equal(indices, folded_data.splits[POOL]) for indices in asked)
    monkeypatch.setattr(FrozenPrefix, "table", lambda *_: None)
    anew = finished(config(freeze_depth=2, epochs=1), folded_data)
    np.testing.assert_allclose(stored[-1].pooled.probabilities, anew[-1].pooled.probabilities, atol=1e-5)


def test_predictions_are_given_in_the_order_of_the_images():
    pooled = OutOfFold(np.array([4, 9, 1]), np.array([[0.4, 0.6], [0.9, 0.1], [0.1, 0.9]], dtype=np.float32))
    np.testing.assert_array_equal(pooled.of(np.array([1, 4, 9]))[:, 0], np.array([0.1, 0.4, 0.9], dtype=np.float32))
    with pytest.raises(CheckpointError, match="of all 4 images, but are of 3"):
        pooled.of(np.array([1, 4, 9, 10]))
    with pytest.raises(CheckpointError, match="of all 3 images"):
        pooled.of(np.array([1, 4, 8]))
