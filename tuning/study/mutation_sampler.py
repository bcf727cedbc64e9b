"""A sampler that changes good configurations a little."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from analysis.trials import KNOWN, MUTATION, ORIGIN, SAMPLER, read_trial
from trainables.core.seeds import derive_seed
from tuning.study.storage.optuna_internals import mark_trial

# Share of the sampler's trials that are mutations, number of trials that may be the parent, probability that each
# parameter changes, and largest change of a number relative to its range.
SHARE, PARENTS, RATE, STEP = 0.9, 5, 0.2, 0.4


@dataclass(frozen=True)
class _Mutation:
    """The changes that make a trial of its parent.

    Attributes:
        parent: Parameters of the parent.
        changed: Names of those that change.
        generator: Source of the new values.
        others: Sampler of the parameters that the parent does not have.
    """

    parent: dict[str, Any]
    changed: frozenset[str]
    generator: np.random.Generator
    others: RandomSampler


class MutationSampler(BaseSampler):
    """Sampler that makes most trials by mutation, as regularised evolution does (Real et al. 2019).

    A mutation copies one of the best trials and changes each parameter with some probability, at least one: a choice to
    another one, and a number by at most ``STEP`` of its range, on the scale of its distribution, or by one step if that
    is more. Parameters that the parent does not have, because they depend on one that changed, are drawn at random. The
    other trials, and all until there are ``PARENTS`` to choose from, come from the wrapped sampler. So do all trials of
    a search that did not begin with known configurations: without them, mutations were no better than TPE
    (benchmarks/curves/README.md).

    The study says which trials are mutations (``ORIGIN``); one that completes a known configuration keeps that origin.

    A mutation depends only on the seed, the trial's number, and the study, so a new process draws the same one.

    Args:
        sampler: Sampler of the other trials.
        seed: Non-negative seed.
    """

    def __init__(self, sampler: BaseSampler, seed: int):
        self._sampler, self._seed = sampler, seed
        self._mutations: dict[int, _Mutation] = {}  # by number of the trial, until it ends

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Decide whether the trial is a mutation, which has no relative parameters; otherwise delegate."""
        generator = np.random.default_rng(derive_seed(self._seed, trial.number))
        parents = best_trials(study, PARENTS) if began_with_known_ones(study) else []
        if len(parents) < PARENTS or generator.random() >= SHARE:
            return self._sampler.infer_relative_search_space(study, trial)
        parent = parents[generator.integers(PARENTS)].params
        names = sorted(parent)
        changed = {name for name in names if generator.random() < RATE} or {str(generator.choice(names))}
        others = RandomSampler(int(generator.integers(2**32)))
        self._mutations[trial.number] = _Mutation(parent, frozenset(changed), generator, others)
        if read_trial(trial).origin == SAMPLER:
            mark_trial(study, trial, ORIGIN, MUTATION)
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Delegate, unless the trial is a mutation."""
        return {} if trial.number in self._mutations else self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the parent's value, a mutated one, or a random one if the parent has none; otherwise delegate."""
        mutation = self._mutations.get(trial.number)
        if mutation is None:
            return self._sampler.sample_independent(study, trial, param_name, param_distribution)
        value = mutation.parent.get(param_name)
        if param_name not in mutation.parent or not is_possible(value, param_distribution):
            return mutation.others.sample_independent(study, trial, param_name, param_distribution)
        if param_name not in mutation.changed:
            return value
        return mutated(value, param_distribution, mutation.generator)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Delegate to the sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Delegate to the sampler and forget the trial."""
        self._mutations.pop(trial.number, None)
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Delegate to the sampler. Mutations have a seed of their own for each trial."""
        self._sampler.reseed_rng()


def began_with_known_ones(study: optuna.Study) -> bool:
    """Return True if the search began with a portfolio, recipes, or the best trials of earlier searches."""
    return any(trial.user_attrs.get(ORIGIN) in KNOWN for trial in study.get_trials(deepcopy=False))


def best_trials(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """Return the trials that have come furthest, of these the best first, then those that have come less far.

    Failed trials and NaN are left out. Of equal trials, the first one comes first.
    """
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    reported = [
        (-trial.last_step, sign * value, trial.number, trial)
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.FAIL
        and trial.last_step is not None
        and not math.isnan(value := trial.intermediate_values[trial.last_step])
    ]
    return [trial for *_, trial in sorted(reported)[:count]]


def is_possible(value: Any, distribution: BaseDistribution) -> bool:
    """Return True if a distribution has a value, which may come from a trial of another space."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (TypeError, ValueError):
        return False


def mutated(value: Any, distribution: BaseDistribution, generator: np.random.Generator) -> Any:
    """Return another choice, or another number near ``value``."""
    if isinstance(distribution, CategoricalDistribution):
        others = [choice for choice in distribution.choices if choice != value]
        return others[generator.integers(len(others))] if others else value
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    scale, inverse = (math.log, math.exp) if distribution.log else (float, float)
    reach = STEP * (scale(high) - scale(low))
    near = inverse(generator.uniform(max(scale(value) - reach, scale(low)), min(scale(value) + reach, scale(high))))
    if step is not None:
        place, drawn = round((value - low) / step), round((near - low) / step)
        if drawn == place:
            upwards = place == 0 or (near > value and value < high)
            drawn += 1 if upwards else -1
        near = low + drawn * step
    near = min(max(near, low), high)
    return int(near) if isinstance(distribution, IntDistribution) else near
