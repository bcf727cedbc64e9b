import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

import trainables.core.training.cross_validation
from trainables.core.data.splits.folds import POOL
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.frozen_cache import FrozenCache
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.training.cross_validation import OutOfFold, cross_validate
from trainables.core.training.fit import fit


def finished(config, data, **resumed):
    return [fold for fold in cross_validate(config, data, **resumed) if fold is not None]


@pytest.fixture(scope="module")
def uninterrupted(folded_data):
    from trainables.core.config import TrainConfig

    config = TrainConfig.from_dict(
        {"backbone": "scratch_cnn", "weights": "random", "image_size": 32, "head": "linear", "optimizer": "adamw"}
        | {"lr": 3e-3, "batch_size": 16, "epochs": 2, "device": "cpu", "freeze_depth": 1, "augmentation": "flip"}
    )
    return config, finished(config, folded_data)


def test_pooled_metrics_are_scikit_learns_on_all_finished_folds(uninterrupted, folded_data):
    _, folds = uninterrupted
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


def test_no_model_predicts_an_image_whose_group_it_was_trained_on(uninterrupted, folded_data, monkeypatch):
    """A spy on ``fit`` records the training images; each row must be the prediction of that model."""
    config, folds = uninterrupted
    trained = []

    def spy(config, data, **options):
        trained.append(data)
        yield from fit(config, data, **options)

    monkeypatch.setattr(trainables.core.training.cross_validation, "fit", spy)
    again = finished(config, folded_data)[-1]
    start = 0
    for fold, data in zip(folded_data.folds, trained, strict=True):
        trained_on = np.union1d(data.splits["fit"], [])
        assert not set(folded_data.groups[trained_on.astype(int)]) & set(folded_data.groups[fold])
        assert not set(trained_on) & set(folded_data.splits["test"])
        *_, last = fit(config, data)
        checkpoint = Checkpoint(last.state, config, data.class_names, data.pixel_format, {})
        model = trained_classifier(checkpoint, torch.device("cpu"))
        expected = predict_probabilities(model, data.images(32), fold)
        np.testing.assert_array_equal(again.pooled.probabilities[start : start + len(fold)], expected)
        start += len(fold)
    np.testing.assert_array_equal(again.pooled.probabilities, folds[-1].pooled.probabilities)


def test_a_run_resumed_after_a_fold_equals_an_uninterrupted_one(uninterrupted, folded_data):
    config, folds = uninterrupted
    rest = finished(config, folded_data, done=1, pooled=folds[0].pooled)
    assert [fold.number for fold in rest] == [2, 3]
    for ours, theirs in zip(rest, folds[1:], strict=True):
        assert ours.metrics == theirs.metrics
        np.testing.assert_array_equal(ours.pooled.probabilities, theirs.pooled.probabilities)
        assert all(torch.equal(ours.model.tensors[name], tensor) for name, tensor in theirs.model.tensors.items())


def test_it_yields_after_every_epoch(config, folded_data):
    is_epoch = [fold is None for fold in cross_validate(config(epochs=2), folded_data, done=1)]
    assert is_epoch == [True, True, False, True, True, False]


def test_a_models_state_has_no_optimizer(uninterrupted):
    _, folds = uninterrupted
    assert all(name.startswith("model.") for name in folds[0].model.tensors)
    assert "tune/loss" not in folds[0].metrics  # losses of different trainings cannot be pooled


def test_all_folds_share_the_frozen_stages_outputs(config, folded_data, monkeypatch):
    requested = []
    table = FrozenCache.table

    def spy(cache, indices, *variants):
        requested.append(indices)
        return table(cache, indices, *variants)

    monkeypatch.setattr(FrozenCache, "table", spy)
    monkeypatch.setattr("trainables.core.models.frozen_cache.Cost.pays", lambda *_: True)
    cached = finished(config(freeze_depth=2, epochs=1), folded_data)
    assert requested
    assert all(np.array_equal(indices, folded_data.splits[POOL]) for indices in requested)
    monkeypatch.setattr(FrozenCache, "table", lambda *_: None)
    recomputed = finished(config(freeze_depth=2, epochs=1), folded_data)
    np.testing.assert_allclose(cached[-1].pooled.probabilities, recomputed[-1].pooled.probabilities, atol=1e-5)


def test_predictions_are_returned_in_the_order_of_the_images():
    pooled = OutOfFold(np.array([4, 9, 1]), np.array([[0.4, 0.6], [0.9, 0.1], [0.1, 0.9]], dtype=np.float32))
    np.testing.assert_array_equal(pooled.of(np.array([1, 4, 9]))[:, 0], np.array([0.1, 0.4, 0.9], dtype=np.float32))
    with pytest.raises(CheckpointError, match="cover all 4 images, but cover 3"):
        pooled.of(np.array([1, 4, 9, 10]))
    with pytest.raises(CheckpointError, match="cover all 3 images"):
        pooled.of(np.array([1, 4, 8]))
