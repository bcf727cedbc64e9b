"""Successive halving that pauses trials instead of stopping them."""

from collections.abc import Collection

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

# One in this many of the trials that reach a rung continues beyond it.
REDUCTION = 2


def rungs(steps: int) -> tuple[int, ...]:
    """Return the steps at which trials are compared: a quarter and a half of the full length.

    An earlier rung misjudges trials that start slowly (benchmarks/curves/README.md).
    """
    return tuple(sorted({max(1, steps // 4), max(1, steps // 2)} - {steps}))


def rungs_before(steps: int) -> tuple[int, ...]:
    """Return the rungs of searches that older versions began: a third of the full length."""
    return tuple(sorted({-(-steps // 3)} - {steps}))


class PausingHalving(BasePruner):
    """Asynchronous successive halving as published (Li et al. 2020): a paused trial continues once it is good enough.

    At each rung, one in ``reduction`` of the trials that have reached it may continue, and always the best one.
    Optuna's pruner judges a trial once, against the trials that came before it, so a good trial is stopped because
    better ones were tried first. Here a paused trial continues as soon as enough worse ones have reached its rung.

    It keeps no state: every decision is computed from the values in the study, so a new process continues with it.

    Args:
        rungs: Steps at which trials are compared, in ascending order.
        reduction: One in this many of the trials that reach a rung continues.
    """

    def __init__(self, rungs: tuple[int, ...], reduction: int = REDUCTION):
        self.rungs, self._reduction = rungs, reduction

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return True if a trial has to pause at the step that it reported last."""
        step = trial.last_step
        return step in self.rungs and trial.number not in self._best(study, step)

    def promoted(self, study: optuna.Study, paused: Collection[int]) -> int | None:
        """Return the number of the paused trial that continues next, or None.

        A trial at a higher rung precedes one at a lower rung, and a better one at the same rung a worse one.
        """
        trials = study.get_trials(deepcopy=False)
        for rung in reversed(self.rungs):
            for number in self._best(study, rung):
                if number in paused and trials[number].last_step == rung:
                    return number
        return None

    def _best(self, study: optuna.Study, rung: int) -> list[int]:
        """Return the numbers of the trials that may continue beyond a rung, best first. NaN is worst."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        reached = [
            (value != value, sign * value, trial.number)
            for trial in study.get_trials(deepcopy=False)
            if trial.state != TrialState.FAIL and (value := trial.intermediate_values.get(rung)) is not None
        ]
        return [number for *_, number in sorted(reached)[: max(len(reached) // self._reduction, 1)]]
