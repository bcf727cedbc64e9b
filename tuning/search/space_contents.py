"""Parameters, recipes and configurations of a space as JSON, without random draws."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from search_spaces.space import SearchSpace

_PROBES = 20


class _EndsAndChoices(RandomSampler):
    """Sampler that takes an end of each range, or one of the choices, by a hash of the trial and the parameter."""

    def sample_independent(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the value of a parameter."""
        values = _values(param_distribution)
        digest = hashlib.sha256(f"{trial.number} {param_name}".encode()).digest()
        return values[int.from_bytes(digest[:8], "big") % len(values)]


def space_contents(space: SearchSpace, backbones: Sequence[str]) -> dict[str, Any]:
    """Describe the parameters of a space, its recipes, and the configurations it makes of some parameters."""
    study = optuna.create_study(sampler=_EndsAndChoices())
    configurations = [space.configuration(study.ask(), backbones) for _ in range(_PROBES)]
    found = {name: one for trial in study.trials for name, one in trial.distributions.items()}
    contents = {
        "parameter": {name: _describe(found[name]) for name in sorted(found)},
        "recipe": {str(number): recipe for number, recipe in enumerate(space.recipe_params(backbones))},
        "configuration": {str(number): config for number, config in enumerate(configurations)},
    }
    as_stored: dict[str, Any] = json.loads(json.dumps(contents))
    return as_stored


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    return distribution.low, distribution.high


def _describe(distribution: BaseDistribution) -> str:
    values = _values(distribution)
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {json.dumps(values)}"
    step = getattr(distribution, "step", None)
    spacing = "logarithmic" if getattr(distribution, "log", False) else f"step {step}" if step else "uniform"
    return f"{values[0]} to {values[1]}, {spacing}"
