"""Syne Tune's schedulers, in an environment of their own: ``python syne_tune_peer.py cqr`` or ``bohb``.

``cqr`` is ASHA with conformalized quantile regression (Salinas et al. 2023) and ``bohb`` is its asynchronous BOHB. Both
have Syne Tune's default rungs. Conditions do not exist there, so every parameter is always searched.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, finrange, loguniform, randint, uniform
from syne_tune.optimizer.baselines import ASHACQR, BOHB

sys.path.insert(0, str(Path(__file__).parent))
from serve import serve

SCHEDULERS = {"cqr": ASHACQR, "bohb": BOHB}


class SyneTuneSearch:
    """One search by a scheduler.

    Args:
        kind: Class of the scheduler.
        task: ``space``, ``epochs`` and ``seed``.
    """

    def __init__(self, kind: type, task: dict[str, Any]):
        np.random.seed(task["seed"])  # ``Domain.sample`` and the choice of a bracket read the global generator
        space = {one["name"]: _domain(one) for one in task["space"]}
        # BOHB's model needs more good trials than parameters. By default only 15% of the trials count as good, so that
        # with 24 parameters the first 166 are random. The published method takes one trial more than parameters.
        options = {"num_min_data_points": len(space) + 1} if kind is BOHB else {}
        self._scheduler = kind(
            space,
            metric="score",
            time_attr="epoch",
            max_t=task["epochs"],
            do_minimize=False,
            random_seed=task["seed"],
            **options,
        )
        self._trials: list[Trial] = []
        self._best: dict[int, float] = {}

    def ask(self) -> dict[str, Any]:
        """Return the scheduler's next trial."""
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return {}
        trial = Trial(len(self._trials), suggestion.config, None)
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return {"trial": trial.trial_id, "params": suggestion.config}

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> str:  # noqa: ARG002
        """Pass on the best score so far."""
        self._best[trial] = max(score, self._best.get(trial, 0.0))
        result = {"score": self._best[trial], "epoch": epoch}
        return str(self._scheduler.on_trial_result(self._trials[trial], result)).lower()

    def end(self, trial: int, failed: bool) -> None:
        """Note the end of a trial, as Syne Tune's tuner does. A trial in full is stopped by its last report."""
        if failed:
            self._scheduler.on_trial_error(self._trials[trial])
        else:
            self._scheduler.on_trial_remove(self._trials[trial])


def _domain(one: dict[str, Any]) -> Any:
    if "choices" in one:
        return choice(one["choices"])
    if one["int"]:
        return randint(one["low"], one["high"])
    if one["step"]:
        return finrange(one["low"], one["high"], round((one["high"] - one["low"]) / one["step"]) + 1)
    return loguniform(one["low"], one["high"]) if one["log"] else uniform(one["low"], one["high"])


if __name__ == "__main__":
    serve(lambda task: SyneTuneSearch(SCHEDULERS[sys.argv[1]], task))
