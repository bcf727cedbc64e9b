"""``tune-run`` and the searchers of Ray Tune, through the classes that Tune itself would call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.search.optuna import OptunaSearch

from analysis.trials import ORIGIN
from benchmarks.curves.configurations import suggest
from benchmarks.curves.make_portfolio import choose
from benchmarks.curves.record_trial import METRIC
from benchmarks.curves.replay import Decision, Job, Searcher, Task
from benchmarks.search_quality.simulation import Storage, Trial
from search_spaces.space import Config, Params
from trainables.core.metric_names import Objective
from trainables.worker.report_keys import FAILED
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.search.plan import order_first_trials
from tuning.study.attributes import FirstTrial
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study

BEST = f"best_{METRIC}"
_STORAGE = "/checkpoints"
_ENDLESS = 10**9


@dataclass
class TunePair(Searcher):
    """A searcher and a scheduler of Ray Tune.

    Attributes:
        searcher: Searcher whose configurations have the parameters under ``train``.
        scheduler: Scheduler that does not pause.
        epochs: Epochs of a full trial.
    """

    searcher: TuneSearcher
    scheduler: TrialScheduler
    epochs: int
    trials: dict[int, Trial] = field(default_factory=dict)
    handed_out: int = 0
    best: dict[int, tuple[float, int]] = field(default_factory=dict)

    def ask(self) -> Job | None:
        """Return the searcher's next trial. Ours names the number of a trial, since it may be a paused one."""
        trial_id = f"{self.handed_out:05d}"
        config = self.searcher.suggest(trial_id)
        if not isinstance(config, dict):
            return None
        folder = f"{_STORAGE}/session-001/{trial_id}"
        trial = Trial(trial_id, config, Storage(_STORAGE, folder), f"{folder}/error.txt", status="RUNNING")
        number = config.get("number", self.handed_out)
        self.trials[number] = trial
        self.handed_out += 1
        self.scheduler.on_trial_add(None, trial)
        return Job(number, config["train"])

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> Decision:
        """Pass a report on in Tune's form."""
        if score > self.best.get(trial, (-math.inf, 0))[0]:
            self.best[trial] = score, epoch
        best, best_epoch = self.best[trial]
        ray_trial = self.trials[trial]
        result = {
            "trial_id": ray_trial.trial_id,
            "training_iteration": epoch,
            "checkpoint_dir_name": f"checkpoint_{epoch - 1:06d}",
            "done": False,
            "epoch": epoch,
            f"tune/{METRIC}": score,
            BEST: best,
            "best_epoch": best_epoch,
            "epoch_seconds": seconds,
        }
        stop = self.scheduler.on_trial_result(None, ray_trial, result) == TrialScheduler.STOP
        ray_trial.last_result = {**result, "done": stop}
        if not stop:
            self.searcher.on_trial_result(ray_trial.trial_id, result)
        return Decision.STOP if stop else Decision.CONTINUE

    def end(self, trial: int, failed: bool) -> None:
        """End a trial as Tune does. Ours reports a failure; for Tune's methods the worker raises."""
        ray_trial = self.trials[trial]
        if failed:
            self._fail(ray_trial)
            return
        ray_trial.last_result["done"] = True
        self.scheduler.on_trial_complete(None, ray_trial, ray_trial.last_result)
        self.searcher.on_trial_complete(trial_id=ray_trial.trial_id, result=ray_trial.last_result, error=False)

    def _fail(self, ray_trial: Trial) -> None:
        self.scheduler.on_trial_error(None, ray_trial)
        self.searcher.on_trial_complete(trial_id=ray_trial.trial_id, result=None, error=True)


@dataclass
class Ours(TunePair):
    """``tune-run``: its study, sampler and pruner.

    Attributes:
        steering: State that its searcher and scheduler share.
    """

    keeps_stopped: ClassVar[bool] = False
    steering: Steering = field(kw_only=True)

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> Decision:
        """Pass a report on. A paused trial ends for Tune."""
        decision = super().report(trial, epoch, score, seconds)
        if trial not in self.steering.paused:
            return decision
        self.end(trial, failed=False)
        return Decision.PAUSE

    def _fail(self, ray_trial: Trial) -> None:
        self.scheduler.on_trial_result(None, ray_trial, {FAILED: "the loss became nan", BEST: math.nan})
        self.searcher.on_trial_complete(trial_id=ray_trial.trial_id, result=None, error=False)


def ours(task: Task) -> Searcher:
    """Return ``tune-run`` with the portfolio of the other data sets and the recipes."""
    return ours_from(task, first_trials(choose(task.others), task.recipes))


def ours_recipes(task: Task) -> Searcher:
    """Return ``tune-run`` for a space without a portfolio."""
    return ours_from(task, first_trials((), task.recipes))


def ours_sampled(task: Task) -> Searcher:
    """Return ``tune-run`` for a space without a portfolio and recipes."""
    return ours_from(task, ())


def first_trials(portfolio: Sequence[Params], recipes: Sequence[Params]) -> list[FirstTrial]:
    """Return the first trials of ``tune-run``; the parameters of those that its sampler chooses are empty."""
    return order_first_trials((), list(map(dict, portfolio)), list(map(dict, recipes)))


def ours_from(
    task: Task, first: Sequence[FirstTrial], pruner: BasePruner | None = None, num_samples: int = _ENDLESS
) -> Searcher:
    """Return ``tune-run`` with some first trials, and with another pruner if one is given.

    By default the budget ends the search.
    """
    objective = Objective(METRIC)
    study = open_study(optuna.storages.InMemoryStorage(), "search", objective, task.epochs, task.seed)
    study.pruner = pruner or study.pruner
    for trial in first:
        study.enqueue_trial(trial.params, {ORIGIN: trial.origin})
    steering = Steering(
        study=study,
        objective=objective,
        epochs=task.epochs,
        num_samples=num_samples,
        max_concurrent=None,
        deadline=math.inf,
        configure=_params,
        storage=_STORAGE,
    )
    return Ours(StudySearcher(steering), StudyScheduler(steering), task.epochs, steering=steering)


def optuna_asha(task: Task) -> Searcher:
    """Return OptunaSearch with the defaults of Optuna 5, and ASHA with our rungs."""
    return optuna_asha_points(task, ())


def optuna_default_asha(task: Task) -> Searcher:
    """Return OptunaSearch with the defaults of Optuna 5, and ASHA with Tune's default rungs."""
    search = OptunaSearch(space=_define_by_run, metric=BEST, mode="max", seed=task.seed)
    return TunePair(search, ASHAScheduler("epoch", BEST, "max", max_t=task.epochs), task.epochs)


def optuna_asha_recipes(task: Task) -> Searcher:
    """Return the same as ``optuna_asha``, with our recipes as its first points."""
    return optuna_asha_points(task, task.recipes)


def optuna_asha_points(task: Task, points: Sequence[Params]) -> Searcher:
    """Return the same as ``optuna_asha``, with some first points."""
    first = [dict(point) for point in points] or None
    search = OptunaSearch(space=_define_by_run, metric=BEST, mode="max", seed=task.seed, points_to_evaluate=first)
    return TunePair(search, _asha(task.epochs), task.epochs)


def random_asha(task: Task) -> Searcher:
    """Return random search, and ASHA with our rungs."""
    search = OptunaSearch(space=_define_by_run, metric=BEST, mode="max", sampler=RandomSampler(task.seed))
    return TunePair(search, _asha(task.epochs), task.epochs)


def _asha(epochs: int) -> TrialScheduler:
    return ASHAScheduler("epoch", BEST, "max", max_t=epochs, grace_period=math.ceil(epochs / 3), reduction_factor=3)


def _params(trial: optuna.Trial) -> Config:
    suggest(trial)
    return dict(trial.params)


def _define_by_run(trial: optuna.Trial) -> dict[str, Config]:
    return {"train": _params(trial)}  # OptunaSearch adds every suggested name next to it
