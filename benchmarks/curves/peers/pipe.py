"""A searcher in another process, with an environment of its own, that answers JSON lines.

The process reads one request per line from its standard input and writes one answer per line to the descriptor that it
got as standard output. ``serve`` is its loop. The requests:

- ``{"start": {...}}`` with the fields of ``Task`` and ``space``, the flat list of parameters: starts a new search
- ``{"ask": true}``: ``{"trial": n, "params": {...}}`` or ``{}`` to wait
- ``{"report": n, "epoch": e, "score": s, "seconds": t}``: ``{"decision": "continue"}``, ``"stop"`` or ``"pause"``
- ``{"end": n, "failed": false}``: ``{}``
"""

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from benchmarks.curves.configurations import suggest
from benchmarks.curves.replay import Decision, Job, Method, Searcher, Task
from benchmarks.curves.surrogate import space_distributions
from search_spaces.space import Params


class PipeSearcher(Searcher):
    """A searcher that a running process serves.

    Args:
        process: Process with pipes.
        task: Search to start.
    """

    def __init__(self, process: "subprocess.Popen[str]", task: Task):
        self._process = process
        start = {"space": describe_space(space_distributions()), "recipes": [complete(one) for one in task.recipes]}
        self._request({"start": {**start, "epochs": task.epochs, "seed": task.seed}})

    def ask(self) -> Job | None:
        """Return the process's next trial, reduced to the parameters that its branch of the space reads."""
        answer = self._request({"ask": True})
        return Job(answer["trial"], read_params(answer["params"])) if answer else None

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> Decision:
        """Pass a report on."""
        answer = self._request({"report": trial, "epoch": epoch, "score": score, "seconds": seconds})
        return Decision(answer["decision"])

    def end(self, trial: int, failed: bool) -> None:
        """Pass the end of a trial on."""
        self._request({"end": trial, "failed": failed})

    def _request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@cache
def piped(*command: str) -> Method:
    """Return the method that a command serves. One process runs all searches of this one, one after another."""
    running: list[subprocess.Popen[str]] = []

    def start(task: Task) -> Searcher:
        if not running:
            running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return PipeSearcher(running[0], task)

    return start


def describe_space(distributions: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Return the parameters as JSON: ``name`` and either ``choices`` or ``low``, ``high``, ``log``, ``step``, ``int``.

    Libraries without conditions search all of them; those that a branch does not read have no effect.
    """
    described: list[dict[str, Any]] = []
    for name, one in distributions.items():
        if isinstance(one, CategoricalDistribution):
            described.append({"name": name, "choices": list(one.choices)})
        else:
            low, high, log, step = (getattr(one, key) for key in ("low", "high", "log", "step"))
            whole = isinstance(one, IntDistribution)
            described.append({"name": name, "low": low, "high": high, "log": log, "step": step, "int": whole})
    return described


def read_params(flat: Params) -> dict[str, Any]:
    """Return the parameters that the space reads, within their ranges and on the grid of stepped ones."""
    snapped = {}
    for name, one in space_distributions().items():
        value = flat[name]
        if isinstance(one, (FloatDistribution, IntDistribution)):
            value = min(max(value, one.low), one.high)  # BOHB leaves the ranges of integers
            if one.step is not None:
                value = one.low + round((value - one.low) / one.step) * one.step
                value = round(value, 10) if isinstance(one.step, float) else int(value)
        snapped[name] = value
    trial = FixedTrial(snapped)
    suggest(trial)
    return dict(trial.params)


def complete(params: Params) -> dict[str, Any]:
    """Return parameters with the first choice or the middle of the range for those that their branch does not read."""
    return {name: params.get(name, _middle(one)) for name, one in space_distributions().items()}


def _middle(one: BaseDistribution) -> Any:
    if isinstance(one, CategoricalDistribution):
        return one.choices[0]
    low, high = one.low, one.high  # type: ignore[attr-defined]
    middle = (low * high) ** 0.5 if getattr(one, "log", False) else (low + high) / 2
    return int(middle) if isinstance(one, IntDistribution) else middle
