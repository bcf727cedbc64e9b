"""Compare first trials and stopping rules on recorded trials only: ``python -m benchmarks.curves.exact``.

A search tries some first configurations and then the others of the table, in a random order. So every curve is a
recorded one, and neither the surrogate nor the sampler has a part in the result. A figure is the regret of the search's
result, averaged over ``select`` and ``test``, in points of balanced accuracy.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from joblib import Parallel, delayed
from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from rich.console import Console
from rich.table import Table

from analysis.trials import SAMPLER
from benchmarks.curves.compare import FULL_TRIALS, SHARES, START_COST, WORKERS
from benchmarks.curves.configurations import SCRATCH
from benchmarks.curves.data_sets import Scale
from benchmarks.curves.ideas.probes import read_probes
from benchmarks.curves.ideas.stopping import ExpectedGain, PowerLawPosterior
from benchmarks.curves.make_portfolio import choose, recorded_trials
from benchmarks.curves.peers.ray_tune import Ours, first_trials, ours_from
from benchmarks.curves.replay import Replay, Searcher, Task, result_at
from benchmarks.curves.table import Floats, RecordedCurves, cache_key, read_packed
from benchmarks.record import RESULTS, machine
from benchmarks.search_quality.searchers import interval
from search_spaces.space import Params
from tuning.study.attributes import FirstTrial
from tuning.study.successive_halving import PausingHalving, rungs

EARLIER_TRIALS, PER_SEARCH = 40, 3  # of simulated earlier searches, for the warm start
First = Callable[[Task, np.random.Generator], Sequence[Params]]
# From tune-run, the configurations to choose from, and a function that returns the seconds left.
Pooled = Callable[[Ours, list[Params], Callable[[], float]], Searcher]


def nothing(task: Task, generator: np.random.Generator) -> Sequence[Params]:  # noqa: ARG001
    """Return no first trials."""
    return []


def recipes(task: Task, generator: np.random.Generator) -> Sequence[Params]:  # noqa: ARG001
    """Return the published recipes."""
    return task.recipes


def portfolio(task: Task, generator: np.random.Generator) -> Sequence[Params]:  # noqa: ARG001
    """Return the portfolio of the other data sets, then the recipes."""
    return [*choose(task.others), *task.recipes]


def portfolio_then_turns(task: Task, generator: np.random.Generator) -> Sequence[Params]:
    """Return the portfolio of the other data sets, then recipes in turn with others, as ``tune-run`` does."""
    others = iter(_shuffled(task, generator))
    return [first.params or next(others) for first in first_trials(choose(task.others), task.recipes)]


def recipes_then_portfolio(task: Task, generator: np.random.Generator) -> Sequence[Params]:  # noqa: ARG001
    """Return the recipes, then the portfolio of the other data sets."""
    return [*task.recipes, *choose(task.others)]


def portfolio_of_half(task: Task, generator: np.random.Generator) -> Sequence[Params]:
    """Return a portfolio from a random half of the recorded configurations, then the recipes.

    The portfolio of all of them is the same for every seed, so a single lucky trial decides about a stopping rule.
    """
    size = max(len(trials) for trials in task.others.values())
    keep = set(generator.permutation(size)[: size // 2].tolist())
    half = {name: tuple(t for place, t in enumerate(trials) if place in keep) for name, trials in task.others.items()}
    return [*choose(half), *task.recipes]


def portfolio_by_cost(cost_power: float, task: Task, generator: np.random.Generator) -> Sequence[Params]:  # noqa: ARG001
    """Return a portfolio whose gains are divided by another power of the cost, then the recipes."""
    return [*choose(task.others, cost_power=cost_power), *task.recipes]


def pretrained_backbones(task: Task, generator: np.random.Generator) -> Sequence[Params]:
    """Return all configurations in random order, except that a network from scratch is last."""
    return sorted(_shuffled(task, generator), key=lambda one: one["backbone"] == SCRATCH)


def backbones_by_probes(task: Task, generator: np.random.Generator) -> Sequence[Params]:
    """Return all configurations by the probe of their backbone, best first, in random order within each."""
    scores = {backbone: of["tune"] for backbone, of in read_probes(task.data_set).items()}
    return sorted(_shuffled(task, generator), key=lambda one: -scores.get(one["backbone"], -1.0))  # SCRATCH is last


def _shuffled(task: Task, generator: np.random.Generator) -> list[Params]:
    params = [trial.params for trial in next(iter(task.others.values()))]  # all data sets have the same ones
    return [params[place] for place in generator.permutation(len(params))]


def half_then_probes(task: Task, generator: np.random.Generator) -> Sequence[Params]:
    """Return the portfolio of a random half, then all configurations by the probe of their backbone."""
    first = portfolio_of_half(task, generator)[: -len(task.recipes)]
    return [*first, *backbones_by_probes(task, generator)]


def warm_start(task: Task, generator: np.random.Generator) -> Sequence[Params]:
    """Return the best trials of a random search of each other data set in turn, then the recipes."""
    best = [
        sorted(
            (trials[place] for place in generator.permutation(len(trials))[:EARLIER_TRIALS]),
            key=lambda one: -one.tune,
        )[:PER_SEARCH]
        for trials in task.others.values()
    ]
    return [*(one.params for in_turn in zip(*best, strict=True) for one in in_turn), *task.recipes]


def third(epochs: int) -> BasePruner:
    """Return the rule before: trials are judged once, at a third of their epochs, and one in three continues."""
    return SuccessiveHalvingPruner(min_resource=-(-epochs // 3), reduction_factor=3)


RULES: dict[str, Callable[[int], BasePruner]] = {
    "stop at a third": third,
    "pause at a third": lambda epochs: PausingHalving((-(-epochs // 3),), 3),
    "pause at a quarter and half": lambda epochs: PausingHalving(rungs(epochs)),
    "pause at 1 and 3 of 9 epochs": lambda _: PausingHalving((1, 3), 3),
    "run in full": lambda _: optuna.pruners.NopPruner(),
    "stop by a power law": PowerLawPosterior,
    "stop by the expected gain": ExpectedGain,
}
EXTRAPOLATED = tuple(RULES)[-2:]
FIRST: dict[str, First] = {
    "random": nothing,
    "recipes": recipes,
    "recipes, portfolio": recipes_then_portfolio,
    "portfolio, recipes": portfolio,
    "portfolio, recipes in turn with others": portfolio_then_turns,
    "portfolio of a half, recipes": portfolio_of_half,
    "portfolio that ignores the cost, recipes": partial(portfolio_by_cost, 0.0),
    "portfolio by gain per second, recipes": partial(portfolio_by_cost, 1.0),
    "warm start, recipes": warm_start,
    "pretrained backbones first": pretrained_backbones,
    "backbones by probes": backbones_by_probes,
    "portfolio of a half, backbones by probes": half_then_probes,
}
BASE = "recipes", "stop at a third"  # tune-run before it had a portfolio and paused trials
PAIRS = (
    *(("random", rule) for rule in RULES),
    BASE,
    ("recipes", "pause at a quarter and half"),
    ("recipes, portfolio", "pause at a quarter and half"),
    *((first, rule) for first in ("portfolio, recipes", "portfolio of a half, recipes") for rule in tuple(RULES)[:3]),
    *(("portfolio of a half, recipes", rule) for rule in EXTRAPOLATED),
    ("portfolio, recipes in turn with others", "pause at a quarter and half"),
    ("portfolio that ignores the cost, recipes", "pause at a quarter and half"),
    ("portfolio by gain per second, recipes", "pause at a quarter and half"),
    ("pretrained backbones first", "pause at a quarter and half"),
    ("backbones by probes", "pause at a quarter and half"),
    ("portfolio of a half, backbones by probes", "pause at a quarter and half"),
    ("warm start, recipes", "stop at a third"),
    ("warm start, recipes", "pause at a quarter and half"),
)


def run(
    first: First,
    rule: Callable[[int], BasePruner],
    name: str,
    seed: int,
    table: dict[str, RecordedCurves],
    pooled: Pooled | None = None,
) -> Floats:
    """Return the (S,) regrets of one search at the shares of the budget.

    ``pooled`` returns a search that takes the other trials from a pool, instead of in a random order.
    """
    recorded = table[name]
    others = {other: recorded_trials(of_set) for other, of_set in table.items() if other != name}
    task = Task(name, recorded.epochs, seed, tuple(recorded.params[place] for place in recorded.recipes), others)
    generator = np.random.default_rng(seed)
    known = {_key(params): curve for params, curve in zip(recorded.params, recorded.curves, strict=True)}
    shuffled = [recorded.params[place] for place in generator.permutation(len(recorded.params))]
    begin = {_key(params): dict(params) for params in first(task, generator) if _key(params) in known}
    points = begin | {_key(params): dict(params) for params in shuffled if _key(params) not in begin}
    queued, pool = list(points.values()), list[Params]()
    if pooled is not None:
        queued, pool = queued[: len(begin)], queued[len(begin) :]
    end = FULL_TRIALS * recorded.mean_cost / WORKERS
    search = ours_from(task, [FirstTrial(params, SAMPLER) for params in queued], rule(recorded.epochs), len(known))
    replay = Replay(
        search if pooled is None else pooled(search, pool, lambda: end - replay.time),
        lambda params: known[_key(params)],
        lambda params: recorded.cache_seconds[cache_key(params)],
        WORKERS,
        end,
        START_COST,
    )
    incumbents = replay.run()
    final = np.array([(curve.select[-1], curve.test[-1]) for curve in recorded.curves if len(curve.tune)])
    found = [result_at(incumbents, share * end) for share in SHARES]
    scores = [final.min(axis=0) if one is None else (one.select, one.test) for one in found]
    regret: Floats = 100 * (final.max(axis=0) - np.array(scores)).mean(axis=1)
    return regret


def _search(pair: tuple[str, str], name: str, seed: int, scale: Scale) -> Floats:
    """Call ``run``, perhaps in another process."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return run(FIRST[pair[0]], RULES[pair[1]], name, seed, read_packed(scale))


def _key(params: Params) -> str:
    return json.dumps(dict(params), sort_keys=True)


def show(summary: Mapping[str, Any], than: str, rule: str = "rule") -> None:
    """Print the regret of each method at each share, and how much less it is than that of another one."""
    table = Table(title=f"regret in points at shares of the budget; less than {than} by (95% interval)")
    for column in (
        "first trials",
        rule,
        *(f"{share:.0%}" for share in SHARES),
        *(f"less at {s:.0%}" for s in SHARES),
    ):
        table.add_column(column)
    for key, row in summary.items():
        less = (f"{one['mean']:+.1f} ({one['low']:+.1f}, {one['high']:+.1f})" for one in row["less_than_base"])
        table.add_row(*key.split(" | "), *(f"{one['mean']:.1f}" for one in row["regret"]), *less)
    Console(width=200).print(table)


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 20,
    scale: Annotated[Scale, typer.Option(help="Table of recorded trials.")] = Scale.LARGE,
    output: Annotated[Path | None, typer.Option(help="JSON file to write; default: among the results.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Data sets; default: all.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Searches at a time.")] = 1,
) -> None:
    """Run all searches and summarize them."""
    recorded = read_packed(scale)
    names = only or list(recorded)
    searches = [(pair, name, seed) for pair in PAIRS for name in names for seed in range(seeds)]
    found = Parallel(jobs)(delayed(_search)(*search, scale) for search in searches)
    regrets = dict(zip(PAIRS, np.array(found).reshape(len(PAIRS), len(names) * seeds, len(SHARES)), strict=True))
    summary = {
        " | ".join(pair): {
            "regret": [interval(column) for column in values.T],
            "less_than_base": [interval(column) for column in (regrets[BASE] - values).T],
        }
        for pair, values in regrets.items()
    }
    show(summary, ", ".join(BASE))
    trials = {name: len(one.params) for name, one in recorded.items()}
    content = {
        "machine": machine(),
        "table": scale,
        "seeds": seeds,
        "data_sets": names,
        "trials": trials,
        "methods": summary,
    }
    file = output or RESULTS / f"curves_exact_{scale}.json"
    file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
