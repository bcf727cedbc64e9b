"""The configurations whose curves are recorded: published recipes, then a random sample of ``alzheimer_space``.

All data sets of a table share one list and the widest of our classification spaces, so that a configuration can be
compared between data sets.
"""

from typing import Any

import optuna
from optuna.trial import FixedTrial

from benchmarks.curves.data_sets import Scale
from search_spaces import chest_xray_space, tissue_space
from search_spaces.alzheimer_space import SPACE
from search_spaces.space import Config, Params

MOBILENET, EFFICIENTNET, SQUEEZENET, SCRATCH = BACKBONES = (
    "torchvision:mobilenet_v2",
    "tf_efficientnet_lite0",
    "torchvision:squeezenet1_1",
    "scratch_cnn",
)
# Seed of the random configurations, so that no table shares them with another.
SEEDS = {Scale.SMALL: 0, Scale.LARGE: 1}
# The recipes' backbones, which have no local weights or are too large, and what stands in for them.
_STAND_INS = {"resnet50": MOBILENET, "efficientnet_b2": EFFICIENTNET, "scratch_cnn": SCRATCH}
# Parameters that other spaces' recipes leave to the default or set differently.
_CHEST = {"loss": "cross_entropy", "label_smoothing": 0.0}
_TISSUE = {**_CHEST, "class_weights": "none", "sampler": "shuffle", "batch_size": 16, "augmentation": "strong"}
_ABSENT = ("hidden_dropout", "normalize")


def suggest(trial: "optuna.trial.BaseTrial") -> Config:
    """Suggest a configuration of the space over ``BACKBONES``."""
    return SPACE.suggest(trial, BACKBONES)


def recipes() -> dict[str, dict[str, Any]]:
    """Return the parameters of the published recipes by name."""
    named = {recipe.__name__: _mapped(recipe()) for recipe in SPACE.recipes}
    named["chest_resnet50"] = _mapped({**chest_xray_space.resnet50(), **_CHEST})
    named["tissue_small_cnn"] = _mapped({**tissue_space.small_cnn(), **_TISSUE})
    return named


def _mapped(params: Params) -> dict[str, Any]:
    known = {name: value for name, value in params.items() if name not in _ABSENT}
    return {**known, "backbone": _STAND_INS[known["backbone"]]}


def draw_params(count: int, scale: Scale = Scale.SMALL) -> list[dict[str, Any]]:
    """Return the parameters of ``count`` configurations: every fourth is a recipe while there are any left."""
    published, drawn = list(recipes().values()), []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(SEEDS[scale]))
    for index in range(count):
        if index % 4 == 0 and published:
            drawn.append(published.pop(0))
            continue
        trial = study.ask()
        suggest(trial)
        drawn.append(trial.params)
    return drawn


def recipe_name(params: Params) -> str | None:
    """Return the name of the recipe with these parameters, or None."""
    return next((name for name, recipe in recipes().items() if recipe == params), None)


def config_of(params: Params) -> Config:
    """Return the configuration of parameters of the space."""
    return suggest(FixedTrial(dict(params)))
