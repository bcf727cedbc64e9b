"""Write the portfolio that ships with the spaces, from the small table: ``python -m benchmarks.curves.make_portfolio``.

A configuration's score on a data set is the mean of its best score on ``tune`` and that checkpoint's on ``select``. The
test images have no part in it.
"""

import json
from collections.abc import Mapping

import numpy as np

from benchmarks.curves.data_sets import Scale
from benchmarks.curves.greedy_portfolio import COST_POWER, greedy_portfolio
from benchmarks.curves.replay import Recorded
from benchmarks.curves.table import RecordedCurves, read_packed
from search_spaces.portfolio import FILE
from search_spaces.space import Params

SIZE = 10


def recorded_trials(recorded: RecordedCurves) -> tuple[Recorded, ...]:
    """Return the trials of a data set, as far as they may be known to a search of another one."""
    return tuple(
        Recorded(params, float(curve.tune.max()), float(curve.select[-1]), curve.cost)
        for params, curve in zip(recorded.params, recorded.curves, strict=True)
        if len(curve.tune)
    )


def shared_trials(others: Mapping[str, tuple[Recorded, ...]]) -> list[list[Recorded]]:
    """Return the trials of each data set whose configurations were recorded on all of them, in one order."""
    by_set = [{_key(one.params): one for one in trials} for trials in others.values()]
    shared = [key for key in by_set[0] if all(key in trials for trials in by_set)]
    return [[trials[key] for key in shared] for trials in by_set]


def choose(
    others: Mapping[str, tuple[Recorded, ...]], size: int = SIZE, cost_power: float = COST_POWER
) -> list[Params]:
    """Choose a portfolio by the trials of some data sets (see ``greedy_portfolio``)."""
    shared = shared_trials(others)
    scores = np.array([[(one.tune + one.select) / 2 for one in trials] for trials in shared])
    seconds = np.array([[one.seconds for one in trials] for trials in shared])
    return [shared[0][place].params for place in greedy_portfolio(scores, size, seconds, cost_power)]


def _key(params: Params) -> str:
    return json.dumps(dict(params), sort_keys=True)


def main() -> None:
    """Choose and write all portfolios."""
    trials = {name: recorded_trials(recorded) for name, recorded in read_packed(Scale.SMALL).items()}
    chosen = {
        left_out: choose({name: of_set for name, of_set in trials.items() if name != left_out})
        for left_out in ("", *sorted(trials))
    }
    blocks = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(params) for params in params_list) + "\n]"
        for name, params_list in chosen.items()
    ]
    FILE.write_text("{\n" + ",\n".join(blocks) + "\n}\n")
    print(f"{FILE}: {', '.join(f'{len(params)} without {name or None}' for name, params in chosen.items())}")


if __name__ == "__main__":
    main()
