import dataclasses
import itertools

import numpy as np
import pytest

from search_spaces.segmentation_choices import network
from search_spaces.space import load_space
from trainables.core.config import CONFIGS
from trainables.core.errors import ConfigError, DataError, WeightsError
from trainables.core.metric_names import Objective
from trainables.core.models.backbones.backbone import build_backbone
from trainables.core.models.networks.segmenter import segmenter_parameter_count
from tuning.search.plan import Plan
from tuning.search.tasks import TASKS, suggested_segmenters


def test_there_is_one_object_per_task():
    assert TASKS.keys() == CONFIGS.keys()


def classification(*backbones):
    return Plan(load_space("demo_space"), backbones, "random", 32, 3, Objective("balanced_accuracy"), True, 0)


def segmentation(suggest, backbones):
    space = dataclasses.replace(load_space("lung_segmentation_space"), suggest=suggest, recipes=())
    return Plan(space, backbones, "random", 32, 3, Objective("dice"), True, 0)


def suggest_small(trial, backbones):
    return {**network(trial, ("unet", "fpn"), backbones), "optimizer": "adam", "lr": 1e-3, "batch_size": 4}


def test_the_largest_network_is_counted():
    task = TASKS["classification"]
    small, large = (
        sum(weights.numel() for weights in build_backbone(name, "random", 32).parameters())
        for name in ("scratch_cnn", "mobilenetv3_small_050")
    )
    count = task.check_networks(classification("scratch_cnn", "mobilenetv3_small_050"))
    assert small < count == large
    counts = [segmenter_parameter_count(name, "mobilenetv3_small_050") for name in ("unet", "fpn")]
    plan = segmentation(suggest_small, ("mobilenetv3_small_050",))
    assert TASKS["segmentation"].check_networks(plan) == max(counts)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(WeightsError, match="unknown backbone 'resnet19'"):
        TASKS["classification"].check_networks(classification("resnet19"))


def test_every_network_that_a_segmentation_may_suggest_is_checked():
    architectures, backbones = ("unet", "fpn", "linknet"), ("mobilenetv3_small_050", "resnet10t")

    def suggest(trial, backbones):
        return {**network(trial, architectures, backbones), "optimizer": "adam", "lr": 1e-3, "batch_size": 4}

    pairs = suggested_segmenters(segmentation(suggest, backbones), count=2)
    assert sorted(pairs) == sorted(itertools.product(architectures, backbones))


def test_networks_that_no_branch_suggests_are_not_checked():
    def suggest(trial, backbones):
        architecture = trial.suggest_categorical("architecture", ["unet", "fpn"])
        own = architecture == "fpn"
        backbone = "resnet10t" if own else trial.suggest_categorical("backbone", list(backbones))
        return {"architecture": architecture, "backbone": backbone, "optimizer": "adam", "lr": 1e-3, "batch_size": 4}

    pairs = suggested_segmenters(segmentation(suggest, ("mobilenetv3_small_050", "resnet18")), count=20)
    assert sorted(pairs) == [("fpn", "resnet10t"), ("unet", "mobilenetv3_small_050"), ("unet", "resnet18")]


def test_the_name_of_a_metric_of_patients_is_checked_before_there_are_data():
    TASKS["classification"].check_metric_name("patient_clinical")
    TASKS["classification"].check_metric_name("patient_quadratic_weighted_kappa")
    TASKS["classification"].check_metric_name("patient_recall/any")
    with pytest.raises(DataError, match="must be one of accuracy, .* but got 'patient_speed'"):
        TASKS["classification"].check_metric_name("patient_patient_speed")
    with pytest.raises(DataError, match="but got 'patient_dice'"):
        TASKS["segmentation"].check_metric_name("patient_dice")


@pytest.mark.parametrize("data", ["small_data", "folded_data"])
def test_a_metric_of_patients_needs_patients(request, data):
    data = request.getfixturevalue(data)
    with pytest.raises(DataError, match="patient_auroc needs patients with several images"):
        TASKS["classification"].check_metric("patient_auroc", data)
    TASKS["classification"].check_metric("patient_auroc", dataclasses.replace(data, patients=np.arange(120)))


def test_the_ordinal_loss_is_refused_for_classes_without_an_order(small_data):
    task, configs = TASKS["classification"], [{"loss": "focal"}, {"loss": "ordinal"}, {}]
    task.check_configs(configs, dataclasses.replace(small_data, ordered=True))
    task.check_configs([configs[0], configs[2]], small_data)
    with pytest.raises(ConfigError, match="the loss ordinal needs grades, but few, many, some have no known order"):
        task.check_configs(configs, small_data)


@pytest.mark.parametrize("metric", ["auroc", "average_precision", "macro_f1", "log_loss", "auroc/anything"])
def test_metrics_of_labels_are_known_before_there_are_data(metric):
    TASKS["multi_label"].check_metric_name(metric)


def test_metrics_of_labels_are_checked_on_tune(labelled_data):
    task = TASKS["multi_label"]
    task.check_metric("auroc/dots", labelled_data)
    with pytest.raises(DataError, match="must be one of auroc, .*, but got 'auroc/dot'"):
        task.check_metric("auroc/dot", labelled_data)
    with pytest.raises(DataError, match="must be one of auroc, .*, but got 'balanced_accuracy'"):
        task.check_metric_name("balanced_accuracy")
    none = dataclasses.replace(labelled_data, labels=np.zeros_like(labelled_data.labels))
    with pytest.raises(DataError, match="'auroc' is undefined on `tune`"):
        task.check_metric("auroc", none)
