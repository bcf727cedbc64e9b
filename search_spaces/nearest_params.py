"""The portfolio and the trials of other searches, as the nearest parameters that a space offers."""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import BaseTrial, FrozenTrial

from search_spaces.space import Config, Params, SearchSpace
from trainables.core.config import SCRATCH


def fit_params(suggest: Callable[[BaseTrial], Config], params: Params) -> dict[str, Any]:
    """Return the parameters that a space reads, each with the nearest value that the space offers.

    A number moves to the nearest one on the space's grid. Of choices that are not numbers, one that the space lacks
    becomes the first. A parameter that is missing gets the first choice or the middle of its range, except for the
    hidden dropout of an ``mlp``: it was that of the head, as ``HeadConfig`` completes it.

    Args:
        suggest: Function of a trial that suggests its configuration.
        params: Parameters; those that the space does not read are left out.
    """
    if params.get("head") == "mlp" and "head_dropout" in params:
        params = {"hidden_dropout": params["head_dropout"], **params}
    trial = optuna.create_study(sampler=_Nearest(params)).ask()
    suggest(trial)
    return dict(trial.params)


def portfolio_params(space: SearchSpace, backbones: Sequence[str]) -> list[dict[str, Any]]:
    """Return the portfolio of a space with the nearest values that it offers, without repeats.

    Pretrained backbones that the space lacks are replaced by those that the portfolio lacks, in turn, so that a search
    compares its backbones early. What suits a network from random weights says little about a pretrained one: without
    ``scratch_cnn`` in the space, its configurations are left out.
    """
    known = {params.get("backbone") for params in space.portfolio}
    pretrained = [name for name in backbones if name != SCRATCH]
    replacements = cycle([name for name in pretrained if name not in known] or pretrained or backbones)
    fitted = []
    for params in space.portfolio:
        if "backbone" in params and params["backbone"] not in backbones:
            if params["backbone"] == SCRATCH:
                continue
            params = {**params, "backbone": next(replacements)}
        fitted.append(fit_params(lambda trial: space.configuration(trial, backbones), params))
    return [params for place, params in enumerate(fitted) if params not in fitted[:place]]


class _Nearest(BaseSampler):
    """Sampler that returns the nearest possible values of given parameters."""

    def __init__(self, params: Params):
        self._params = params

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return {}

    def sample_relative(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        value = self._params.get(param_name)
        if isinstance(param_distribution, CategoricalDistribution):
            return _nearest_choice(value, param_distribution.choices)
        return _nearest_number(value, param_distribution)


def _nearest_choice(value: Any, choices: tuple[Any, ...]) -> Any:
    if value in choices:
        return value
    if _is_number(value) and all(map(_is_number, choices)):
        return min(choices, key=lambda choice: abs(choice - value))
    return choices[0]


def _nearest_number(value: Any, distribution: Any) -> Any:
    low, high, step = distribution.low, distribution.high, distribution.step
    if not _is_number(value):
        value = (low * high) ** 0.5 if distribution.log else (low + high) / 2
    value = min(max(value, low), high)
    if step is not None:
        # Decimal steps leave rounding errors: 3 * 0.1 is not 0.3.
        value = min(low + round((value - low) / step) * step, high)
        value = int(value) if isinstance(distribution, IntDistribution) else round(value, 10)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
