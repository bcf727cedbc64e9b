"""From a space, a study and resources to a ``ray.tune.Tuner``."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from search_spaces.space import SearchSpace
from trainables.core.config import TrainConfig
from trainables.core.errors import ConfigError
from trainables.core.metric_names import Objective
from trainables.core.seeds import derive_seed


@dataclass(frozen=True)
class Plan:
    """What every trial of a search shares.

    Attributes:
        space: What is searched.
        backbones: What the space chooses from.
        weights: ``pretrained``, ``random`` or a folder.
        image_size: Side of the network's input in pixels.
        epochs: Epochs of a full trial.
        objective: The metric, or two, to optimise.
        pruning: Whether trials that fall behind are stopped.
        seed: Of the search; each trial derives its own.
        folds: How many models a trial trains, each for all epochs; None for a single one.
    """

    space: SearchSpace
    backbones: Sequence[str]
    weights: str
    image_size: int
    epochs: int
    objective: Objective
    pruning: bool
    seed: int
    folds: int | None = None

    @property
    def steps(self) -> int:
        """Reports of a full trial, at which trials are compared: its folds, or its epochs."""
        return self.folds or self.epochs

    def configure(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """The dict of a ``TrainConfig`` for a trial, checked.

        Raises:
            ConfigError: The space gave a key that training does not know, or does not read.
        """
        searched = self.space.suggest(trial, self.backbones)
        shared = {
            **({} if self.space.task == "classification" else {"task": self.space.task}),
            "weights": self.weights,
            "image_size": self.image_size,
            "epochs": self.epochs,
            "seed": derive_seed(self.seed, trial.number),
        }
        overridden = sorted(searched.keys() & {*shared, "device"})
        if overridden:
            raise ConfigError(f"space {self.space.name} must leave {', '.join(overridden)} to the command line")
        config = {**searched, **shared}
        TrainConfig.from_dict(config)
        return config

    def samples(self, count: int) -> list[dict[str, Any]]:
        """The configurations of the first ``count`` trials: the recipes, then what the space gives at random."""
        return self._rehearsed(count)[1]

    def segmenters(self, count: int) -> list[tuple[str, str]]:
        """The architectures and encoders that a segmentation may suggest; of a classification none.

        They are those of the first ``count`` trials, and what the space gives for each pair of the parameters
        ``architecture`` and ``backbone`` that these could have chosen.
        """
        if self.space.task != "segmentation":
            return []
        study, configs = self._rehearsed(count)
        for pair in itertools.product(_choices(study, "architecture"), _choices(study, "backbone")):
            study.enqueue_trial(dict(zip(("architecture", "backbone"), pair, strict=True)))
            configs.append(self.configure(study.ask()))
        return list(dict.fromkeys((config["architecture"], config["backbone"]) for config in configs))

    def _rehearsed(self, count: int) -> tuple[optuna.Study, list[dict[str, Any]]]:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.seed))
        for recipe in self.space.recipe_params(self.backbones):
            study.enqueue_trial(recipe)
        return study, [self.configure(study.ask()) for _ in range(count)]


def _choices(study: optuna.Study, name: str) -> list[Any]:
    """What a study's trials choose a parameter from, which Optuna has be the same for all of them."""
    asked = (trial.distributions[name] for trial in study.trials if name in trial.distributions)
    return list(getattr(next(asked, None), "choices", ()))
