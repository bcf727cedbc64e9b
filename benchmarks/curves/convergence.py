"""Measure what searches lose that end once they have converged: ``python -m benchmarks.curves.convergence``.

Searches of ``tune-run`` are replayed to the end of their budget, as in ``compare``. For several settings of the rule in
``tuning/study/convergence.py``, the result at the time at which a search converged is compared with its last one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.curves.compare import replay_of, task_of
from benchmarks.curves.data_sets import Scale
from benchmarks.curves.peers.ray_tune import Ours, ours, ours_sampled
from benchmarks.curves.record_trial import METRIC
from benchmarks.curves.replay import Method, result_at
from benchmarks.curves.surrogate import Surrogate, load_surrogates
from benchmarks.record import RESULTS, machine
from benchmarks.search_quality.searchers import interval
from tuning.study.convergence import LEAST, PATIENCE, convergence

METHODS: dict[str, Method] = {"tune-run": ours, "without first trials": ours_sampled}
SETTINGS = ((10, 5), (16, 8), (LEAST, PATIENCE), (30, 20))  # trials in full, and those since the best


def replay(method: Method, data_set: str, seed: int, surrogates: Mapping[str, Surrogate]) -> list[tuple[float, float]]:
    """Replay one search.

    Returns:
        For each setting, the share of the budget at which the search converged (1 if it did not), and how much its mean
        score on ``select`` and ``test`` rose after that.
    """
    searcher = method(task_of(data_set, seed, surrogates))
    assert isinstance(searcher, Ours)
    run = replay_of(searcher, surrogates[data_set])
    converged = [run.end] * len(SETTINGS)
    finish = searcher.end

    def note(trial: int, failed: bool) -> None:
        finish(trial, failed)
        for place, setting in enumerate(SETTINGS):
            if converged[place] == run.end and convergence(searcher.steering.study, METRIC, *setting):
                converged[place] = run.time

    searcher.end = note  # type: ignore[method-assign]
    incumbents = run.run()

    def score(time: float) -> float:
        result = result_at(incumbents, time)
        assert result is not None
        return (result.select + result.test) / 2

    return [(time / run.end, score(run.end) - score(time)) for time in converged]


def summarize(found: Mapping[tuple[str, str], list[list[tuple[float, float]]]]) -> dict[str, Any]:
    """Return the mean share of the budget and the loss by method and setting, over data sets and for each of them."""
    summary: dict[str, Any] = {}
    for method in METHODS:
        of_method = {name: np.array(runs) for (by, name), runs in found.items() if by == method}  # (S, settings, 2)
        for place, (least, patience) in enumerate(SETTINGS):
            figures = np.stack([runs[:, place] for runs in of_method.values()])  # (D, S, 2)
            summary.setdefault(method, {})[f"{least} in full, {patience} since the best"] = {
                "share": interval(figures[..., 0].mean(axis=0)),
                "lost": interval(figures[..., 1].mean(axis=0)),
                "data_sets": {
                    name: {"share": float(runs[:, place, 0].mean()), "lost": interval(runs[:, place, 1])}
                    for name, runs in of_method.items()
                },
            }
    return summary


def main(
    scale: Annotated[Scale, typer.Option(help="Table of recorded trials.")] = Scale.LARGE,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds, counted from 0.")] = 10,
    output: Annotated[Path | None, typer.Option(help="JSON file to write; default: among the results.")] = None,
) -> None:
    """Replay the searches, print the table, and write it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    surrogates = load_surrogates(scale)
    found = {
        (by, name): [replay(method, name, seed, surrogates) for seed in range(seeds)]
        for by, method in METHODS.items()
        for name in surrogates
    }
    summary = summarize(found)
    table = Table("search", "converged after", "share of the budget", "points lost")
    for method, of_method in summary.items():
        for setting, row in of_method.items():
            lost = "{:.2f} ({:.2f} to {:.2f})".format(*(100 * row["lost"][key] for key in ("mean", "low", "high")))
            table.add_row(method, setting, f"{row['share']['mean']:.0%}", lost)
    Console().print(table)
    file = output or RESULTS / f"curves_convergence_{scale}.json"
    file.write_text(
        json.dumps({"machine": machine(), "table": scale, "seeds": seeds, "methods": summary}, indent=1) + "\n"
    )


if __name__ == "__main__":
    typer.run(main)
