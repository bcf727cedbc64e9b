"""Optuna's own loop with its Hyperband pruner, as in its tutorial."""

import optuna
from optuna.pruners import HyperbandPruner
from optuna.trial import TrialState

from benchmarks.curves.configurations import suggest
from benchmarks.curves.replay import Decision, Job, Searcher, Task


class OptunaHyperband(Searcher):
    """TPE with Optuna's defaults and ``HyperbandPruner`` with its defaults."""

    def __init__(self, task: Task):
        self._epochs = task.epochs
        sampler = optuna.samplers.TPESampler(seed=task.seed)
        pruner = HyperbandPruner(min_resource=1, max_resource=task.epochs, reduction_factor=3)
        # The pruner draws a trial's bracket from the name.
        name = f"{task.data_set}-{task.seed}"
        self._study = optuna.create_study(study_name=name, direction="maximize", sampler=sampler, pruner=pruner)
        self._trials: list[optuna.Trial] = []
        self._scores: dict[int, list[float]] = {}

    def ask(self) -> Job | None:
        """Return the sampler's next trial."""
        trial = self._study.ask()
        suggest(trial)
        self._trials.append(trial)
        self._scores[trial.number] = []
        return Job(trial.number, trial.params)

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> Decision:  # noqa: ARG002
        """Report the best score so far and ask the pruner."""
        self._scores[trial].append(score)
        self._trials[trial].report(max(self._scores[trial]), epoch)
        if epoch < self._epochs and self._trials[trial].should_prune():
            return Decision.STOP
        return Decision.CONTINUE

    def end(self, trial: int, failed: bool) -> None:
        """Tell the study the outcome."""
        scores = self._scores[trial]
        if failed:
            self._study.tell(trial, state=TrialState.FAIL)
        elif len(scores) < self._epochs:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, max(scores))
