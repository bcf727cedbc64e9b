"""Compare search methods on the recorded curves: ``python -m benchmarks.curves.compare``.

Each method searches each data set with each seed, with 4 workers in virtual time. The budget is the time of 60 full
trials of mean cost, divided by the workers. A search's result is its checkpoint with the best score on ``tune``;
``tune-run`` only chooses among trials that ran in full or are still running. Regret is the best recorded trial's score
on ``select``, or on ``test``, minus the result's; a search without a report has the lowest recorded score.

Runs are appended to a file as they end, so that an interrupted comparison continues. Methods with an environment of
their own are included if its Python is given.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.curves.make_portfolio import recorded_trials
from benchmarks.curves.peers.optuna_hyperband import OptunaHyperband
from benchmarks.curves.peers.pipe import piped
from benchmarks.curves.peers.portfolio import portfolio_asha
from benchmarks.curves.peers.ray_tune import (
    optuna_asha,
    optuna_asha_recipes,
    optuna_default_asha,
    ours,
    ours_recipes,
    ours_sampled,
    random_asha,
)
from benchmarks.curves.record import append_line, read_lines, remove_torn_line
from benchmarks.curves.replay import Incumbent, Method, Replay, Task, result_at
from benchmarks.curves.surrogate import Surrogate, load_surrogates
from benchmarks.curves.table import TABLE, Floats
from benchmarks.record import RESULTS, machine
from benchmarks.search_quality.searchers import interval

WORKERS, FULL_TRIALS = 4, 60
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
GRID = tuple(np.linspace(0, 1, 201).tolist())
OURS = ("ours", "ours without portfolio", "ours without both")
START_COST = 0.15  # seconds that a trial takes beside its training (benchmarks/README.md), for every method
PEERS = Path(__file__).parent / "peers"

METHODS: dict[str, Method] = {
    "ours": ours,
    "ours without portfolio": ours_recipes,
    "ours without both": ours_sampled,
    "optuna + asha": optuna_asha,
    "optuna + asha, Tune's rungs": optuna_default_asha,
    "optuna + asha, recipes first": optuna_asha_recipes,
    "optuna + hyperband": OptunaHyperband,
    "random + asha": random_asha,
    "portfolio, optuna + asha": portfolio_asha,
}


def all_methods(syne_tune: Path | None, neps: Path | None) -> dict[str, Method]:
    """Return the methods whose environments are given."""
    methods = dict(METHODS)
    for name in ("bohb", "cqr") if syne_tune else ():
        methods[f"syne tune: {name}"] = piped([str(syne_tune), str(PEERS / "syne_tune_peer.py"), name])
    if neps:
        methods["neps: priorband"] = piped([str(neps), str(PEERS / "neps_peer.py")])
    return methods


def run(method: Method, data_set: str, seed: int, surrogates: Mapping[str, Surrogate]) -> list[list[float]]:
    """Replay one search and return its result over time: share of the budget, tune, select and test."""
    surrogate = surrogates[data_set]
    recorded = surrogate.recorded
    others = {name: recorded_trials(other.recorded) for name, other in surrogates.items() if name != data_set}
    recipes = tuple(recorded.params[place] for place in recorded.recipes)
    task = Task(data_set, recorded.epochs, seed, recipes, others)
    end = FULL_TRIALS * recorded.mean_cost / WORKERS
    replay = Replay(method(task), surrogate.curve, surrogate.cache_cost, WORKERS, end, START_COST)
    return [[round(one.time / end, 5), one.tune, one.select, one.test] for one in replay.run()]


def scores(result: list[list[float]], shares: Sequence[float], lowest: tuple[float, float]) -> Floats:
    """Return the (n, 2) select and test scores at n shares of the budget."""
    incumbents = [Incumbent(*values) for values in result]
    found = [result_at(incumbents, share) for share in shares]
    return np.array([lowest if one is None else (one.select, one.test) for one in found])


def summarize(runs: list[dict[str, Any]], surrogates: Mapping[str, Surrogate]) -> dict[str, Any]:
    """Return regrets by data set and method, and the share of the budget to reach the best peer's final score."""
    summary: dict[str, Any] = {}
    for name, surrogate in surrogates.items():
        final = np.array([(curve.select[-1], curve.test[-1]) for curve in surrogate.recorded.curves if len(curve.tune)])
        best, lowest = final.max(axis=0), (float(final[:, 0].min()), float(final[:, 1].min()))
        of_set: dict[str, list[list[list[float]]]] = {}
        for one in runs:
            if one["data_set"] == name:
                of_set.setdefault(one["method"], []).append(one["result"])
        curves = {m: np.mean([scores(one, GRID, lowest)[:, 0] for one in of], axis=0) for m, of in of_set.items()}
        target = max((curve[-1] for method, curve in curves.items() if method not in OURS), default=np.nan)
        methods: dict[str, Any] = {}
        for method, results in of_set.items():
            regret = best - np.stack([scores(one, SHARES, lowest) for one in results])
            reached = np.flatnonzero(curves[method] >= target)
            methods[method] = {
                "seeds": len(results),
                "select_regret": [interval(column) for column in regret[:, :, 0].T],
                "test_regret": [interval(column) for column in regret[:, :, 1].T],
                "share_to_reach_best_peer": GRID[reached[0]] if len(reached) else None,
            }
        summary[name] = {"best_peer_select": float(target), "best_recorded": best.tolist(), "methods": methods}
    return summary


def show(summary: dict[str, Any]) -> None:
    """Print one table per data set, in percentage points of balanced accuracy."""
    for name, figures in summary.items():
        table = Table(title=f"{name}: regret in points on select (test at 100%), 95% interval at 100%")
        columns = (*(f"{share:.0%}" for share in SHARES), "interval", "test", "reaches the best peer at", "seeds")
        for column in ("method", *columns):
            table.add_column(column)
        for method, row in sorted(figures["methods"].items(), key=lambda one: one[1]["select_regret"][-1]["mean"]):
            last, share = row["select_regret"][-1], row["share_to_reach_best_peer"]
            table.add_row(
                method,
                *(f"{100 * one['mean']:.1f}" for one in row["select_regret"]),
                f"{100 * last['low']:.1f} to {100 * last['high']:.1f}",
                f"{100 * row['test_regret'][-1]['mean']:.1f}",
                "never" if share is None else f"{share:.0%}",
                str(row["seeds"]),
            )
        Console(width=150).print(table)


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds, counted from 0.")] = 30,
    syne_tune: Annotated[Path | None, typer.Option(help="Python of an environment with syne-tune.")] = None,
    neps: Annotated[Path | None, typer.Option(help="Python of an environment with neural-pipeline-search.")] = None,
    runs: Annotated[Path, typer.Option(help="File of finished runs, to continue.")] = Path("curve-runs.jsonl"),
    only: Annotated[list[str] | None, typer.Option(help="Methods to run; default: all.")] = None,
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = RESULTS / "curves.json",
) -> None:
    """Replay all searches that the file of runs lacks, then summarize."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    surrogates = load_surrogates()
    digest = hashlib.sha256(TABLE.read_bytes()).hexdigest()[:12]
    remove_torn_line(runs)
    finished = [one for one in read_lines(runs) if one["table"] == digest]  # a larger table gives other curves
    done = {(one["data_set"], one["method"], one["seed"]) for one in finished}
    methods = all_methods(syne_tune, neps)
    if unknown := sorted(set(only or ()) - methods.keys()):
        raise typer.BadParameter(f"--only must be one of {', '.join(methods)}, but got {', '.join(unknown)}")
    methods = {name: one for name, one in methods.items() if not only or name in only}
    for seed in range(seeds):
        for name, method in methods.items():
            for data_set in surrogates:
                if (data_set, name, seed) in done:
                    continue
                result = run(method, data_set, seed, surrogates)
                key = {"table": digest, "data_set": data_set, "method": name, "seed": seed}
                finished.append({**key, "result": result})
                append_line(runs, finished[-1])
    summary = summarize(finished, surrogates)
    show(summary)
    trials = {name: len(one.recorded.params) for name, one in surrogates.items()}
    settings = {"workers": WORKERS, "full_trials": FULL_TRIALS, "shares": SHARES, "table": TABLE.name, "trials": trials}
    content = {"machine": machine(), **settings, "data_sets": summary}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
