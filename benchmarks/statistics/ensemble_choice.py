"""Points that the automatic choice of an ensemble rule loses to the best fixed rule, where the truth is known.

Five simulated members, of which 0, 1 or 2 guess, predict ``select`` sets of 60, 160 and 600 images in groups of five.
Every rule, and the choice that ``tune-run`` makes, is fitted on ``select`` and scored by balanced accuracy on 4,000 new
images. Images of a group share a difficulty, and members share a part of their errors, as trials of one search do.

Takes 1.4 s of one CPU core for each set, most of it for stacking.
"""

import argparse
import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from threadpoolctl import threadpool_limits

from analysis.ensembles.compare_rules import compare
from analysis.ensembles.rules import RULES
from analysis.statistics.resampling import Sample
from benchmarks.record import at_most, record

SIZES, GUESSING, REPETITIONS = (60, 160, 600), (0, 1, 2), 20
MEMBERS, GROUP, TRUTH = 5, 5, 4000
SHARES = (0.6, 0.3, 0.1)  # of the classes
CHOICE = "the choice"
GOAL = 0.3  # points

Scores = dict[str, float]


def main() -> None:
    """Simulate, print a table, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="simulated select sets a cell")
    repetitions = parser.parse_args().repetitions
    cells = list(itertools.product(SIZES, GUESSING))
    with threadpool_limits(1):  # the matrices are small
        by_cell = {cell: [simulate(*cell, seed) for seed in range(repetitions)] for cell in track(cells)}
    losses = {cell: loss(scores) for cell, scores in by_cell.items()}
    _show(by_cell)
    rows = [at_most(f"points lost, {size} images, {bad} guess", losses[size, bad][0], GOAL) for size, bad in cells]
    errors = {_title(cell): round(error, 2) for cell, (_, error) in losses.items()}
    record("ensemble_choice", rows, {"repetitions": repetitions, "errors": errors, "points": _points(by_cell)})


def simulate(images: int, guessing: int, seed: int) -> Scores:
    """Return the true balanced accuracy of every fixed rule and of the choice, fitted on one ``select`` set."""
    generator = np.random.default_rng([images, guessing, seed])
    skills = np.where(np.arange(MEMBERS) < MEMBERS - guessing, generator.uniform(1.0, 2.2, MEMBERS), 0.0)
    select, sample = draw(images, skills, generator)
    truth, unseen = draw(TRUTH, skills, generator)
    scores = {name: unseen.score(rule(select, sample).apply(truth)) for name, rule in RULES.items()}
    chosen = compare(select, sample).chosen
    return {**scores, CHOICE: scores[chosen]}


def draw(
    images: int, skills: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], Sample]:
    """Draw (M, N, C) probabilities of members of these skills (0 guesses), and the images."""
    groups = np.arange(images) // GROUP
    labels = generator.choice(len(SHARES), groups[-1] + 1, p=SHARES)[groups]
    shape = (images, len(SHARES))
    shared = generator.normal(size=shape) + generator.normal(size=(groups[-1] + 1, len(SHARES)))[groups]
    own = generator.normal(size=(len(skills), *shape))
    signal = skills[:, None, None] * np.eye(len(SHARES))[labels]
    logits = signal + 0.7 * shared * (skills > 0)[:, None, None] + own
    odds = np.exp(logits)
    names = tuple("abc")
    return odds / odds.sum(axis=2, keepdims=True), Sample(labels, groups, names, "balanced_accuracy")


def loss(scores: list[Scores]) -> tuple[float, float]:
    """Return the points by which the choice is behind the rule that is best on average, and the standard error."""
    best = max(RULES, key=lambda name: sum(one[name] for one in scores))
    behind = 100 * np.array([one[best] - one[CHOICE] for one in scores])
    return float(behind.mean()), float(behind.std(ddof=1) / np.sqrt(len(behind)))


def _points(by_cell: Mapping[tuple[int, int], list[Scores]]) -> dict[str, dict[str, float]]:
    return {
        _title(cell): {name: round(100 * float(np.mean([one[name] for one in scores])), 2) for name in scores[0]}
        for cell, scores in by_cell.items()
    }


def _title(cell: tuple[int, int]) -> str:
    return f"{cell[0]} images, {cell[1]} guess"


def _show(by_cell: Mapping[tuple[int, int], list[Scores]]) -> None:
    points = _points(by_cell)
    headings = [f"{images}/{bad}" for images, bad in by_cell]
    table = Table("images/guess", *headings, title="Balanced accuracy on new images, points")
    for name in (*RULES, CHOICE):
        table.add_row(name, *(f"{cell[name]:.1f}" for cell in points.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
