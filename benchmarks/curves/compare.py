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
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from joblib import Parallel, delayed

from benchmarks.curves.data_sets import Scale
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
from benchmarks.curves.replay import Method, Replay, Searcher, Task
from benchmarks.curves.summary import best_peers, compare_methods, intervals, reach_best_peer, scores_at
from benchmarks.curves.surrogate import Surrogate, load_surrogates
from benchmarks.curves.table import TABLES, Floats, RecordedCurves
from benchmarks.record import RESULTS, machine

WORKERS, FULL_TRIALS = 4, 60
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
STEPS = 1000  # of the budget, to measure the time at which a score is reached
TIMES = np.append(SHARES, np.linspace(0, 1, STEPS + 1))
OURS = ("ours", "ours without portfolio", "ours without both")
BASE, SLOW = "optuna + asha", "syne tune: cqr"  # the method to compare with; the one that only runs if it is named
START_COST = 0.15  # seconds that a trial takes beside its training (benchmarks/README.md), for every method
PEERS = Path(__file__).parent / "peers"

Key = tuple[str, str, int]  # data set, method and seed of a search
Result = list[list[float]]  # share of the budget, tune, select and test at each change of a search's result

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
        methods[f"syne tune: {name}"] = piped(str(syne_tune), str(PEERS / "syne_tune_peer.py"), name)
    if neps:
        methods["neps: priorband"] = piped(str(neps), str(PEERS / "neps_peer.py"))
    return methods


def run(method: Method, data_set: str, seed: int, surrogates: Mapping[str, Surrogate]) -> Result:
    """Replay one search and return its result over time."""
    replay = replay_of(method(task_of(data_set, seed, surrogates)), surrogates[data_set])
    return [[round(one.time / replay.end, 5), one.tune, one.select, one.test] for one in replay.run()]


def task_of(data_set: str, seed: int, surrogates: Mapping[str, Surrogate]) -> Task:
    """Return what a method may know of a data set, and the trials on the other ones."""
    recorded = surrogates[data_set].recorded
    others = {name: recorded_trials(other.recorded) for name, other in surrogates.items() if name != data_set}
    recipes = tuple(recorded.params[place] for place in recorded.recipes)
    return Task(data_set, recorded.epochs, seed, recipes, others)


def replay_of(searcher: Searcher, surrogate: Surrogate) -> Replay:
    """Return a search with the budget of all comparisons."""
    end = FULL_TRIALS * surrogate.recorded.mean_cost / WORKERS
    return Replay(searcher, surrogate.curve, surrogate.cache_cost, WORKERS, end, START_COST)


def collect(
    runs: Mapping[Key, Result], methods: Sequence[str], seeds: int, recorded: Mapping[str, RecordedCurves]
) -> tuple[Floats, Floats, Floats]:
    """Return the (D, 2) best recorded scores on ``select`` and ``test`` and the (M, D, S, T, 2) ones at ``TIMES``.

    The third result is (M, D): the share of the searches that end with the highest recorded score on ``tune``.
    """
    best, found, at_top = [], [], []
    for name, of_set in recorded.items():
        curves = [curve for curve in of_set.curves if len(curve.tune)]
        final = np.array([(curve.select[-1], curve.test[-1]) for curve in curves])
        top = max(curve.tune.max() for curve in curves)
        results = [[runs[name, method, seed] for seed in range(seeds)] for method in methods]
        best.append(final.max(axis=0))
        found.append([[scores_at(one, TIMES, final.min(axis=0)) for one in of_method] for of_method in results])
        at_top.append([np.mean([bool(one) and one[-1][1] >= top for one in of_method]) for of_method in results])
    return np.array(best), np.stack(found, axis=1), np.stack(at_top, axis=1)


def summarize(
    best: Floats, found: Floats, at_top: Floats, methods: Sequence[str], data_sets: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of ``summary`` by method and by data set, from the results of ``collect``."""
    peers = [place for place, name in enumerate(methods) if name not in OURS]
    regret = best[:, None, None] - found[:, :, :, : len(SHARES)]
    mean = regret.mean(axis=(1, 4))
    reached, ratios = reach_best_peer(found[:, :, :, len(SHARES) :, 0], peers)
    rows = zip(methods, compare_methods(mean, methods.index(BASE), peers), ratios, strict=True)
    return {
        "best_peers": [methods[place] for place in best_peers(mean, peers)],
        "methods": {name: {**row, "gpu_seconds": ratio} for name, row, ratio in rows},
        "data_sets": {
            name: {
                "best_recorded": best[place].tolist(),
                "best_peer": methods[reached[place]["best_peer"]],
                "best_peer_select": reached[place]["score"],
                "methods": {
                    method: {
                        "select_regret": intervals(of[..., 0]),
                        "test_regret": intervals(of[..., 1]),
                        "share_to_reach_best_peer": share,
                        "searches_at_highest_tune": float(top),
                    }
                    for method, of, share, top in zip(
                        methods, regret[:, place], reached[place]["share"], at_top[:, place], strict=True
                    )
                },
            }
            for place, name in enumerate(data_sets)
        },
    }


def show(summary: Mapping[str, Any]) -> None:
    """Print the figures of all data sets together and of each one, in percentage points of balanced accuracy."""
    shares = [f"{share:.0%}" for share in SHARES]
    methods = summary["methods"]
    ratio = "{mean:.2f} ({low:.2f} to {high:.2f})".format
    rows = [
        [name, *_means(row["regret"]), *(ratio(**row["gpu_seconds"][of]) for of in ("of_first_time", "of_budget"))]
        for name, row in methods.items()
    ]
    columns = ["method", *shares, "GPU-seconds to the best peer's end / its own", "/ the budget"]
    _print("mean regret over data sets, select and test, in points (95% intervals by seed)", columns, rows)
    best = f"the best peer ({', '.join(summary['best_peers'])})"
    for key, reference in (("less_than_base", BASE), ("less_than_best_peer", best)):
        rows = [[name, *map(_points, row[key])] for name, row in methods.items()]
        _print(f"less mean regret than {reference} by", ["method", *shares], rows)
    for name, figures in summary["data_sets"].items():
        rows = []
        for method, row in figures["methods"].items():
            select, share, top = row["select_regret"], row["share_to_reach_best_peer"], row["searches_at_highest_tune"]
            reached = "never" if share is None else f"{share:.1%}"
            rows.append(
                [method, *_means(select), *_means(row["test_regret"]), _points(select[-1]), reached, f"{top:.0%}"]
            )
        columns = ["method", *(f"{split} {share}" for split in ("select", "test") for share in shares)]
        title = f"{name}: regret; best peer on select: {figures['best_peer']}"
        last = ["select 100%, interval", "best peer's end reached at", "searches that end at the highest tune score"]
        _print(title, [*columns, *last], rows)


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, as it is in the README."""
    lines = [columns, ["---"] * len(columns), *rows]
    print(f"\n{title}\n", *(f"| {' | '.join(cells)} |" for cells in lines), sep="\n")


def _means(figures: Sequence[Mapping[str, float]]) -> list[str]:
    return [f"{100 * one['mean']:.1f}" for one in figures]


def _points(figure: Mapping[str, float]) -> str:
    return "{:.1f} ({:.1f} to {:.1f})".format(*(100 * figure[key] for key in ("mean", "low", "high")))


def choose_methods(methods: Mapping[str, Method], only: Sequence[str] | None) -> dict[str, Method]:
    """Return ``tune-run``, ``BASE``, and the methods that are named; without names all but the slow one.

    Raises:
        typer.BadParameter: A name is unknown.
    """
    if unknown := sorted(set(only or ()) - methods.keys()):
        raise typer.BadParameter(f"--only must be one of {', '.join(methods)}, but got {', '.join(unknown)}")
    chosen = {OURS[0], BASE, *only} if only else methods.keys() - {SLOW}
    return {name: method for name, method in methods.items() if name in chosen}


def _search(key: Key, scale: Scale, syne_tune: Path | None, neps: Path | None) -> Result:
    """Call ``run``, perhaps in another process."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data_set, name, seed = key
    return run(all_methods(syne_tune, neps)[name], data_set, seed, load_surrogates(scale))


def package_version(python: Path, package: str) -> str:
    """Return the version of a package in another Python's environment."""
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    return subprocess.run([python, "-c", code, package], check=True, capture_output=True, text=True).stdout.strip()


def main(
    scale: Annotated[Scale, typer.Option(help="Table of recorded trials.")] = Scale.LARGE,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds, counted from 0.")] = 30,
    syne_tune: Annotated[Path | None, typer.Option(help="Python of an environment with syne-tune.")] = None,
    neps: Annotated[Path | None, typer.Option(help="Python of an environment with neural-pipeline-search.")] = None,
    runs: Annotated[Path, typer.Option(help="File of finished runs, to continue.")] = Path("curve-runs.jsonl"),
    only: Annotated[
        list[str] | None,
        typer.Option(help="Methods beside ours and OptunaSearch + ASHA; default: all but CQR."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Searches at a time.")] = 1,
    output: Annotated[Path | None, typer.Option(help="JSON file to write; default: among the results.")] = None,
) -> None:
    """Replay all searches that the file of runs lacks, then summarize."""
    surrogates = load_surrogates(scale)
    digest = hashlib.sha256(TABLES[scale].read_bytes()).hexdigest()[:12]
    remove_torn_line(runs)
    finished = {  # a larger table gives other curves
        (one["data_set"], one["method"], one["seed"]): one["result"]
        for one in read_lines(runs)
        if one["table"] == digest
    }
    methods = choose_methods(all_methods(syne_tune, neps), only)
    keys = [(data_set, name, seed) for seed in range(seeds) for name in methods for data_set in surrogates]
    missing = [key for key in keys if key not in finished]
    results = Parallel(jobs, return_as="generator")(delayed(_search)(key, scale, syne_tune, neps) for key in missing)
    for key, result in zip(missing, results, strict=True):
        finished[key] = result
        line = dict(zip(("data_set", "method", "seed"), key, strict=True))
        append_line(runs, {"table": digest, **line, "result": result})
    recorded = {name: one.recorded for name, one in surrogates.items()}
    summary = summarize(*collect(finished, list(methods), seeds, recorded), list(methods), list(recorded))
    show(summary)
    settings = {"seeds": seeds, "workers": WORKERS, "full_trials": FULL_TRIALS, "shares": SHARES, "table": scale}
    trials = {name: len(of_set.params) for name, of_set in recorded.items()}
    versions = {"syne-tune": syne_tune, "neural-pipeline-search": neps}
    peers = {name: package_version(python, name) for name, python in versions.items() if python}
    content = {"machine": {**machine(), **peers}, **settings, "trials": trials, **summary}
    file = output or RESULTS / f"curves_{scale}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
