"""Checks before a search that depend on its task. A new task is one class and one entry in ``TASKS``."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from trainables.core.config import ClassificationConfig, MultiLabelConfig, SegmentationConfig
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import PATIENT
from trainables.core.models.backbones.backbone import build_backbone, check_weights, parameter_count
from trainables.core.models.backbones.registry import count_features
from trainables.core.models.networks.segmenter import check_segmenter, fetch_weights, segmenter_parameter_count
from trainables.core.training.losses import check_loss
from trainables.core.training.metrics.classification_metrics import check_objective
from trainables.core.training.metrics.multi_label_metrics import check_label_objective
from trainables.core.training.metrics.patient_metrics import check_patient_label_objective, check_patient_objective
from trainables.core.training.metrics.segmentation_metrics import check_mask_objective
from tuning.search.plan import REHEARSED_TRIALS, Plan


class SearchTask(ABC):
    """Checks for the searches of one task.

    Attributes:
        name: Value of ``SearchSpace.task``.
        has_masks: True if its data sets have masks instead of labels.
        layouts: Data layouts, for messages.
        contents: Labels of such a data set, for messages.
        unsupported_options: Options of ``tune-run`` that the task does not support.
    """

    name: str
    has_masks: bool
    layouts: str
    contents: str
    unsupported_options: tuple[str, ...] = ()

    @abstractmethod
    def check_networks(self, plan: Plan) -> int:
        """Check every network that a trial may train, without fetching weights.

        Returns:
            Number of parameters of the largest network.

        Raises:
            WeightsError, ConfigError: A network is unknown, or a folder of weights lacks its file.
        """

    @abstractmethod
    def fetch_weights(self, backbone: str, image_size: int) -> None:
        """Fetch the pretrained weights of a checked backbone, or raise HubError or WeightsError."""

    @abstractmethod
    def check_metric_name(self, metric: str) -> None:
        """Raise DataError if a metric is unknown, before there is data. Metrics of one class are not checked."""

    @abstractmethod
    def check_configs(self, configs: Sequence[Mapping[str, Any]], data: Dataset) -> None:
        """Raise ConfigError if one of these ``TrainConfig`` dicts cannot be trained on the data."""

    @abstractmethod
    def check_metric(self, metric: str, data: Dataset) -> None:
        """Raise DataError or ConfigError if a metric cannot be computed on the data."""


class WholeImageSearch(SearchTask):
    """Checks of the networks that predict for whole images."""

    has_masks = False

    def check_networks(self, plan: Plan) -> int:
        """Check every backbone."""
        for backbone in plan.backbones:
            check_weights(backbone, plan.weights)
            count_features(backbone, plan.image_size)
        return max(map(parameter_count, plan.backbones))

    def fetch_weights(self, backbone: str, image_size: int) -> None:
        """Build a backbone with its weights."""
        build_backbone(backbone, "pretrained", image_size)


class ClassificationSearch(WholeImageSearch):
    """One class per image."""

    name, layouts, contents = ClassificationConfig.task, "class folders or Parquet", "one class per image"

    def check_metric_name(self, metric: str) -> None:
        """Check a metric on two made-up classes, which have every metric of a classification."""
        if "/" not in metric:
            check_objective(metric.removeprefix(PATIENT), np.arange(2), ("CLASS", "OTHER"), "CLASS", ordered=True)

    def check_configs(self, configs: Sequence[Mapping[str, Any]], data: Dataset) -> None:
        """Check the losses."""
        for loss in {config.get("loss", "") for config in configs}:
            check_loss(loss, data.class_names, data.ordered)

    def check_metric(self, metric: str, data: Dataset) -> None:
        """Check a metric on the images that the first trials are compared on."""
        compared = data.folds[0] if data.folds else data.splits["tune"]
        if metric.startswith(PATIENT):
            check_patient_objective(metric, data, compared)
        else:
            check_objective(metric, data.labels[compared], data.class_names, data.healthy, data.ordered)


class MultiLabelSearch(WholeImageSearch):
    """Any number of labels per image."""

    name, contents = MultiLabelConfig.task, "several labels per image"
    layouts = "--labels FILE with several labels per image"
    unsupported_options = ("--ordered",)

    def check_metric_name(self, metric: str) -> None:
        """Check a metric on one made-up label, which has every metric of a multi-label classification."""
        if "/" not in metric:
            check_label_objective(metric.removeprefix(PATIENT), np.array([[0], [1]]), ("LABEL",))

    def check_configs(self, configs: Sequence[Mapping[str, Any]], data: Dataset) -> None:
        """Do nothing: all losses suit all labels."""

    def check_metric(self, metric: str, data: Dataset) -> None:
        """Check a metric on the images that the first trials are compared on."""
        compared = data.folds[0] if data.folds else data.splits["tune"]
        if metric.startswith(PATIENT):
            check_patient_label_objective(metric, data, compared)
        else:
            check_label_objective(metric, data.labels[compared], data.class_names)


class SegmentationSearch(SearchTask):
    """One class per pixel."""

    name, has_masks, layouts = SegmentationConfig.task, True, "folders images/ and masks/, or Oxford-IIIT Pet"
    contents = "masks"
    unsupported_options = ("--cv-folds", "--tta", "--roi", "--ordered")

    def check_networks(self, plan: Plan) -> int:
        """Build every pair of architecture and encoder once (0.1 to 0.3 s each)."""
        networks = suggested_segmenters(plan, REHEARSED_TRIALS)
        for architecture, encoder in networks:
            check_segmenter(architecture, encoder, plan.weights, plan.image_size)
        return max(segmenter_parameter_count(*network) for network in networks)

    def fetch_weights(self, backbone: str, image_size: int) -> None:
        """Fetch an encoder's weights, or those of a whole DETR."""
        fetch_weights(backbone, image_size)

    def check_metric_name(self, metric: str) -> None:
        """Check a metric on one made-up class."""
        if "/" not in metric:
            check_mask_objective(metric, ("CLASS",))

    def check_configs(self, configs: Sequence[Mapping[str, Any]], data: Dataset) -> None:
        """Do nothing: every configuration can be trained on every set of masks."""

    def check_metric(self, metric: str, data: Dataset) -> None:
        """Check a metric of masks."""
        check_mask_objective(metric, data.class_names)


TASKS: dict[str, SearchTask] = {
    task.name: task for task in (ClassificationSearch(), SegmentationSearch(), MultiLabelSearch())
}


def suggested_segmenters(plan: Plan, count: int) -> list[tuple[str, str]]:
    """Return the architectures and encoders that a segmentation space may suggest.

    They are those of the first ``count`` trials, and the result for each pair of the parameters ``architecture`` and
    ``backbone`` that these trials could have chosen.
    """
    study, configs = plan.rehearse(count)
    for pair in itertools.product(_choices(study, "architecture"), _choices(study, "backbone")):
        study.enqueue_trial(dict(zip(("architecture", "backbone"), pair, strict=True)))
        configs.append(plan.configure(study.ask()))
    return list(dict.fromkeys((config["architecture"], config["backbone"]) for config in configs))


def _choices(study: optuna.Study, name: str) -> list[Any]:
    """Return the choices of a parameter. Optuna requires them to be the same in all trials."""
    distributions = (trial.distributions[name] for trial in study.trials if name in trial.distributions)
    return list(getattr(next(distributions, None), "choices", ()))
