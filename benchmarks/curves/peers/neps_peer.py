"""NePS's PriorBand with a published recipe as its prior, in an environment of its own: ``python neps_peer.py``.

PriorBand takes one prior: our first recipe. Its base is NePS's default, Hyperband, which begins another bracket when
all others wait, so no worker idles. Asynchronous Hyperband is no fair base in version 0.17: whenever three trials wait
at a rung it promotes the best of them, however bad, so nearly all run in full. Conditions do not exist there, so every
parameter is always searched.
"""

import random
import sys
from pathlib import Path
from typing import Any

import neps
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from serve import serve

FIDELITY = "epoch"


class PriorBandSearch:
    """One search by PriorBand.

    A trial that is promoted to a higher rung continues: NePS gives it a new ID, which names the same configuration.

    Args:
        task: ``space``, ``recipes``, ``epochs`` and ``seed``.
    """

    def __init__(self, task: dict[str, Any]):
        for seeded in (random.seed, np.random.seed, torch.manual_seed):
            seeded(task["seed"])
        parameters = {one["name"]: _parameter(one, task["recipes"][0]) for one in task["space"]}
        space = neps.SearchSpace({**parameters, FIDELITY: neps.HPOInteger(1, task["epochs"], is_fidelity=True)})
        self._optimizer = neps.AskAndTell(neps.algorithms.priorband(space))
        self._numbers: dict[str, int] = {}  # of the trials by NePS's name for their configuration
        self._asked: dict[int, Any] = {}  # the latest request for each trial
        self._best: dict[int, float] = {}

    def ask(self) -> dict[str, Any]:
        """Return a new trial or one that is promoted."""
        asked = self._optimizer.ask()
        name = asked.id.partition("_rung_")[0]
        number = self._numbers.setdefault(name, len(self._numbers))
        self._asked[number] = asked
        return {"trial": number, "params": {key: value for key, value in asked.config.items() if key != FIDELITY}}

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> str:  # noqa: ARG002
        """Tell the best score so far at the rung that was asked for, and pause there."""
        self._best[trial] = max(score, self._best.get(trial, 0.0))
        asked = self._asked[trial]
        if epoch < asked.config[FIDELITY]:
            return "continue"
        self._optimizer.tell(asked, -self._best[trial])
        return "pause"

    def end(self, trial: int, failed: bool) -> None:
        """Tell a failure; the last epoch was told by ``report``."""
        if failed:
            self._optimizer.tell(self._asked[trial], 0.0)  # the worst score, as the failure's epoch was paid for


def _parameter(one: dict[str, Any], prior: dict[str, Any]) -> Any:
    belief = {"prior": prior[one["name"]], "prior_confidence": "medium"}
    if "choices" in one:
        return neps.HPOCategorical(one["choices"], **belief)
    kind = neps.HPOInteger if one["int"] else neps.HPOFloat
    return kind(one["low"], one["high"], log=one["log"], **belief)


if __name__ == "__main__":
    serve(PriorBandSearch)
