"""Settings that all trials of a search share, and the configurations that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution

from analysis.trials import PORTFOLIO, RECIPE, SAMPLER, WARM_START
from search_spaces.nearest_params import portfolio_params
from search_spaces.space import SearchSpace, SpaceError
from trainables.core.config import TrainConfig
from trainables.core.errors import ConfigError
from trainables.core.metric_names import Objective
from trainables.core.seeds import derive_seed
from tuning.study.attributes import FirstTrial

# A branch of a space that gives an invalid configuration should fail before the search, not hours into it.
REHEARSED_TRIALS = 50


@dataclass(frozen=True)
class Plan:
    """Settings that all trials of a search share.

    Attributes:
        space: Search space.
        backbones: Backbones that the space chooses from.
        weights: ``pretrained``, ``random`` or a folder.
        image_size: Side of the network's input in pixels.
        epochs: Epochs of a full trial.
        objective: Metric, or two metrics, to optimise.
        pruning: True if trials that fall behind are paused.
        seed: Seed of the search; each trial derives its own from it.
        folds: Number of models that a trial trains, each for all epochs; None for a single one.
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
        """Number of reports of a full trial: its folds or its epochs. Trials are compared at reports."""
        return self.folds or self.epochs

    def configure(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """Return the checked ``TrainConfig`` dict of a trial.

        Raises:
            ConfigError: The space gave a key that training does not know or does not read.
            SpaceError: The space's function raised an error, or returned no dict.
        """
        searched = self.space.configuration(trial, self.backbones)
        shared = {
            # Left out for the default task: a search that began before there were others must keep its identity.
            **({} if self.space.task == "classification" else {"task": self.space.task}),
            "weights": self.weights,
            "image_size": self.image_size,
            "epochs": self.epochs,
            "seed": derive_seed(self.seed, trial.number),
        }
        overridden = sorted(searched.keys() & {*shared, "device"})
        if overridden:
            raise ConfigError(f"space {self.space.name} must not set {', '.join(overridden)}: the command line does")
        config = {**searched, **shared}
        TrainConfig.from_dict(config)
        return config

    def first_trials(self, trials: int, warm: Sequence[dict[str, Any]] = ()) -> list[FirstTrial]:
        """Return the trials that a search of some trials tries first (see ``order_first_trials``).

        Args:
            trials: Number of trials of the search. The portfolio takes at most half of them, so that a short search
                reaches the recipes too.
            warm: Parameters of the best trials of earlier searches.
        """
        portfolio = portfolio_params(self.space, self.backbones)[: trials // 2]
        return order_first_trials(warm, portfolio, self.space.recipe_params(self.backbones))

    def samples(
        self, count: int, trials: int | None = None, warm: Sequence[dict[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """Return the first ``count`` configurations of a search of some trials: known good ones, then random ones."""
        return self.rehearse(count, trials, warm)[1]

    def rehearse(
        self, count: int, trials: int | None = None, warm: Sequence[dict[str, Any]] = ()
    ) -> tuple[optuna.Study, list[dict[str, Any]]]:
        """Ask a throw-away study for ``count`` trials; return it with their configurations.

        Args:
            count: Number of configurations.
            trials: Number of trials of the search; default: ``count``.
            warm: Parameters of the best trials of earlier searches, which are tried first.

        Raises:
            ConfigError: As for ``configure``.
            SpaceError: As for ``configure``, or a study cannot store the choices of a parameter.
        """
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.seed))
        for trial in self.first_trials(trials or count, warm):
            study.enqueue_trial(trial.params)
        configs = [self.configure(study.ask()) for _ in range(count)]
        for asked in study.get_trials(deepcopy=False):
            for name, distribution in asked.distributions.items():
                if isinstance(distribution, CategoricalDistribution):
                    _check_choices(name, distribution.choices)
        return study, configs


def order_first_trials(
    warm: Sequence[dict[str, Any]], portfolio: Sequence[dict[str, Any]], recipes: Sequence[dict[str, Any]]
) -> list[FirstTrial]:
    """Return trials without repeats: earlier searches' best ones, the portfolio, then recipes in turn with the sampler.

    The parameters of a trial of the sampler are empty. On recorded trials, this order finds better configurations than
    one with the recipes first, or all at once (benchmarks/curves/README.md).

    Args:
        warm: Parameters of the best trials of earlier searches.
        portfolio: Parameters of the portfolio.
        recipes: Parameters of the published recipes.
    """
    first: list[FirstTrial] = []
    for origin, of_origin in ((WARM_START, warm), (PORTFOLIO, portfolio), (RECIPE, recipes)):
        for params in of_origin:
            if all(params != trial.params for trial in first):
                if first and first[-1].origin == RECIPE:
                    first.append(FirstTrial({}, SAMPLER))
                first.append(FirstTrial(params, origin))
    return first


def _check_choices(parameter: str, choices: Sequence[Any]) -> None:
    """Raise SpaceError if choices are not the same after a study has stored them as JSON, or cannot be told apart."""
    if not all(isinstance(choice, bool | int | float | str | None) for choice in choices) or (
        len(set(choices)) < len(choices)
    ):
        raise SpaceError(
            f"parameter {parameter}: choices must be None, bool, int, float or str, each once, but got "
            f"{list(choices)}: search a name, and look up in suggest what it stands for"
        )
