"""Coverage that prediction sets promise for new groups, where the truth is known.

Each simulated calibration sample has 10 to 200 groups, whose images' logits correlate by 0.5. The coverage of its
threshold is measured on 2,000 new groups: the chance that the set of a random image of a random new group has the true
class. Four ways to calibrate are compared: all images as if they were exchangeable; one random image of each group; the
worst image of each group; and ours, in which each group has the same weight.

Takes 3 minutes of one CPU core.
"""

import argparse
import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.special import expit

from analysis.statistics.conformal import lowest_probability
from benchmarks.record import Row, at_least, record

COVERAGE, GROUPS, REPETITIONS = 0.9, (10, 30, 50, 200), 1000
NEW = 2000
DESIGNS = ("5 images a group", "1 to 8 images a group", "large groups are easy")

_Images = tuple[NDArray[np.float64], NDArray[np.int64]]  # (N,) probabilities of the true class, and (N,) groups


def main() -> None:
    """Simulate, and record the mean coverage and its 5% quantile over calibration samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="calibration samples of each kind")
    repetitions = parser.parse_args().repetitions
    cells = list(itertools.product(DESIGNS, GROUPS))
    details = {
        f"{design}, {groups} groups": simulate(design, groups, repetitions)
        for design, groups in track(cells, "simulating")
    }
    rows: list[Row] = []
    for name, found in details.items():
        goal = round(COVERAGE - 3 * found["ours"]["error"], 3)
        rows.append(at_least(f"mean coverage, {name}", found["ours"]["mean"], goal))
    record("conformal", rows, {"promised": COVERAGE, "repetitions": repetitions, "coverage": details})


def simulate(design: str, groups: int, repetitions: int) -> dict[str, dict[str, float]]:
    """Return the mean, its standard error and the 5% quantile of the coverage of each way to calibrate."""
    generator = np.random.default_rng([DESIGNS.index(design), groups])
    covered: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(repetitions):
        calibration, new = draw(design, groups, generator), draw(design, NEW, generator)
        for name, method in METHODS.items():
            covered[name].append(share_of_groups(*new, method(*calibration, generator)))
    return {
        name: {
            "mean": float(np.mean(values)),
            "error": float(np.std(values) / np.sqrt(repetitions)),
            "5% quantile": float(np.quantile(values, 0.05)),
        }
        for name, values in covered.items()
    }


def draw(design: str, groups: int, generator: np.random.Generator) -> _Images:
    """Draw the probabilities of the true class of all images of some groups."""
    easy = generator.random(groups) < 0.6
    sizes = {
        "5 images a group": np.full(groups, 5),
        "1 to 8 images a group": generator.integers(1, 9, groups),
        "large groups are easy": np.where(easy, 12, 1),
    }[design]
    level = generator.normal(np.where(easy, 2.0, 0.0), 1)
    group_of = np.repeat(np.arange(groups), sizes)
    return expit(level[group_of] + generator.normal(size=len(group_of))), group_of


def share_of_groups(true_class: NDArray[np.float64], groups: NDArray[np.int64], threshold: float) -> float:
    """Return the mean over groups of the share of their images that reach a threshold."""
    reached = true_class.astype(np.float32) >= np.float32(threshold)
    return float((np.bincount(groups, weights=reached) / np.bincount(groups)).mean())


def _one_image(true_class: NDArray[np.float64], groups: NDArray[np.int64], generator: np.random.Generator) -> float:
    order = generator.permutation(len(groups))
    chosen = order[np.unique(groups[order], return_index=True)[1]]
    return lowest_probability(true_class[chosen], groups[chosen], COVERAGE)


def _worst_image(true_class: NDArray[np.float64], groups: NDArray[np.int64], generator: np.random.Generator) -> float:  # noqa: ARG001
    worst = np.full(groups.max() + 1, np.inf)
    np.minimum.at(worst, groups, true_class)
    return lowest_probability(worst, np.arange(len(worst)), COVERAGE)


METHODS: dict[str, Callable[[NDArray[np.float64], NDArray[np.int64], np.random.Generator], float]] = {
    "all images": lambda true_class, groups, _: lowest_probability(true_class, np.arange(len(groups)), COVERAGE),
    "one image of each group": _one_image,
    "worst image of each group": _worst_image,
    "ours": lambda true_class, groups, _: lowest_probability(true_class, groups, COVERAGE),
}

if __name__ == "__main__":
    main()
