import numpy as np
import pytest
import torch

from trainables.core.config import MultiLabelConfig, TrainConfig
from trainables.core.data.labels import rarest_labels
from trainables.core.device import resolve_device
from trainables.core.errors import ConfigError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.training.cross_validation import cross_validate
from trainables.core.training.fit import fit
from trainables.core.training.metrics.multi_label_metrics import multi_label_metrics
from trainables.core.training.tasks.multi_label import MultiLabel

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "focal", "pos_weight": "sqrt", "augmentation": "medical"},
        {"loss": "asymmetric", "sampler": "weighted", "augmentation": "flip"},
    ],
)
def test_it_learns_all_labels(config, labelled_data, changes):
    changes = {"augmentation": "none", **changes}
    *_, last = fit(config(task="multi_label", epochs=12, lr=1e-2, **changes), labelled_data)
    if changes["augmentation"] == "none":  # otherwise left and right are exchanged
        assert last.metrics["tune/auroc"] > 0.95
        assert last.metrics["tune/macro_f1"] > 0.8
    assert {f"tune/auroc/{name}" for name in ("left", "right", "dots")} <= last.metrics.keys()


def test_scores_are_those_of_the_trained_model(config, labelled_data, tmp_path):
    settings = config(task="multi_label", epochs=2, pos_weight="balanced")
    *_, last = fit(settings, labelled_data)
    checkpoint = Checkpoint(last.state, settings, labelled_data.class_names, labelled_data.pixel_format, {})
    save_checkpoint(tmp_path / "c", checkpoint)
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded.config == settings
    tune = labelled_data.splits["tune"]
    model = trained_classifier(loaded, resolve_device("cpu"))
    probabilities = predict_probabilities(model, labelled_data.images(32), tune)
    assert (probabilities.sum(axis=1) > 1.01).any() or (probabilities.sum(axis=1) < 0.99).any()
    expected = multi_label_metrics(probabilities, labelled_data.labels[tune], labelled_data.class_names)
    scored = {name.removeprefix("tune/"): value for name, value in last.metrics.items() if name.startswith("tune/")}
    assert {name: scored[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_frozen_stages_are_cached_with_all_labels(config, labelled_data):
    settings = config(
        task="multi_label", backbone="mobilenetv3_small_050", freeze_depth=2, augmentation="flip", batch_size=64
    )
    task = MultiLabel(settings, labelled_data, CPU)
    fit_split = labelled_data.splits["fit"]
    order = task._order(1)
    targets = torch.cat([targets for _, targets in task.train_batches(1)]).numpy()
    np.testing.assert_array_equal(targets, labelled_data.labels[fit_split[order]])


def test_the_sampler_draws_by_the_rarest_label(config, labelled_data):
    task = MultiLabel(config(task="multi_label", sampler="weighted"), labelled_data, CPU)
    targets = labelled_data.labels[labelled_data.splits["fit"]]
    rarest = rarest_labels(targets)
    drawn = np.concatenate([rarest[task._order(epoch)] for epoch in range(1, 30)])
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), 1 / 4, atol=0.03)  # three labels, and none


def test_the_rarest_label_of_an_image_is_the_one_that_fewest_have():
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]])  # 4, 3 and 2 images
    assert rarest_labels(labels).tolist() == [0, 1, 2, 1, 3, 2]


def test_folds_are_scored_on_the_pooled_labels(config, labelled_data):
    import dataclasses

    from trainables.core.data.splits.folds import make_folds
    from trainables.core.data.splits.splits import Items

    items = Items(
        labelled_data.labels, labelled_data.groups, np.full(len(labelled_data.labels), ""), labelled_data.class_names
    )
    splits, folds = make_folds(items, np.arange(len(items.labels)), seed=0, mode="grouped", count=2)
    folded = dataclasses.replace(labelled_data, splits=splits, folds=folds)
    results = [result for result in cross_validate(config(task="multi_label", epochs=1), folded) if result]
    pooled = results[-1].pooled
    expected = multi_label_metrics(pooled.probabilities, folded.labels[pooled.images], folded.class_names)
    assert expected == {name: results[-1].metrics[f"tune/{name}"] for name in expected}
    np.testing.assert_array_equal(np.sort(pooled.images), splits["pool"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_weights": "balanced"}, "unknown key 'class_weights'"),
        ({"loss": "cross_entropy"}, "loss must be one of bce, focal, asymmetric"),
        ({"loss": "asymmetric", "pos_weight": "sqrt"}, "pos_weight is only read when loss is bce or focal"),
        ({"margin": 0.1}, "margin is only read when loss is asymmetric"),
    ],
)
def test_refused_configurations(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(task="multi_label", **changes)


def test_a_configuration_comes_back_from_its_dict(config):
    settings = config(task="multi_label", loss="asymmetric", gamma_negative=2.0, head="mlp")
    assert isinstance(settings, MultiLabelConfig)
    assert settings.to_dict()["task"] == "multi_label"
    assert TrainConfig.from_dict(settings.to_dict()) == settings
