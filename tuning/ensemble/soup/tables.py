"""Tables about a greedy soup: how it was chosen, and what it costs in score against the ensemble of the search."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.ensembles.tasks.choose import task_results
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.paired_difference import paired_differences
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Sample
from analysis.trials import checkpoints_of, network_of
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import AVERAGES, PATIENT
from trainables.core.serving.operating_point import IMAGE
from trainables.core.serving.operating_point import PATIENT as PATIENT_UNIT
from trainables.core.serving.predict_classes import VIEWS
from trainables.worker.inference import examine_here
from tuning.console import say
from tuning.ensemble.build import Infer
from tuning.ensemble.console_tables import show_choice
from tuning.ensemble.soup.choose_soup import ChosenSoup, Contender


def show_soup(soup: ChosenSoup, data: Dataset, console: Console) -> None:
    """Print how a soup was chosen on ``select``, and how it compares there with the other models."""
    console.print(_steps(soup))
    if len(soup.soup.ingredients) == 1:
        say(console, f"No average is as good as {soup.average.label} alone, so the soup is that trial.")
    show_choice(soup.average.chosen, console)
    with console.status("comparing"):
        table = _comparison([(one, one.held_out) for one in soup.contenders], data, data.selection)
    console.print(table)
    say(console, "Scores are cross-fitted: each image is predicted by a model that was chosen on other groups.")
    with console.status("measuring latency"):
        costs = _costs(soup, data)
    say(console, costs)


def show_soup_on_test(soup: ChosenSoup, data: Dataset, infer: Infer, console: Console) -> None:
    """Print how a soup compares with the other models on ``test``. Call ``count_opening`` before."""
    task = task_results(data)
    predictions = [
        task.combined(infer(one.chosen.checkpoints, "test"), one.chosen.comparison.combination)
        for one in soup.contenders
    ]
    console.print(_comparison(list(zip(soup.contenders, predictions, strict=True)), data, "test"))


def _steps(chosen: ChosenSoup) -> Table:
    """Lay out the trials in the order in which they were tried, and which of them the soup is made of."""
    metric = chosen.average.chosen.comparison.metric
    table = Table("trial", title=f"Greedy soup: {metric} on select, on which it is chosen")
    for heading in ("alone", "averaged with those added above", ""):
        table.add_column(heading, justify="right")
    for step in chosen.soup.steps:
        name = escape(f"{chosen.trials[step.ingredient].name} {network_of(chosen.trials[step.ingredient])}")
        outcome = "added" if step.added else "not added"
        table.add_row(name, f"{step.alone:.4f}", f"{step.together:.4f}", outcome)
    return table


def _comparison(models: Sequence[tuple[Contender, NDArray[Any]]], data: Dataset, split: str) -> Table:
    """Lay out the scores of models with these predictions, and their differences from the last one."""
    metric = models[0][0].chosen.comparison.metric
    scored = [_scored(one, predictions, data, split) for one, predictions in models]
    few = scored[-1][1].scarce()[0] if metric.removeprefix(PATIENT) in AVERAGES else ()
    kinds = f"* conditional on the few groups {', '.join(map(str, few))} (fewer than {GROUPS_FOR_INTERVAL})"
    mark, caption = ("*", escape(kinds)) if few else ("", None)
    table = Table("model", title=f"{metric} on {split}", caption=caption)
    for heading in ("score [95%]", f"difference from the {models[-1][0].label} [95%]"):
        table.add_column(heading, justify="right")
    for (one, _), (predictions, sample) in zip(models, scored, strict=True):
        difference = paired_differences(scored[-1][0], predictions, sample).get(sample.metric)  # None if undefined
        bounds = intervals(predictions, sample).get(sample.metric)
        interval = "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]{mark}"
        shown = "" if difference is None or one is models[-1][0] else difference.describe()
        shown += mark * (shown.endswith("]"))
        table.add_row(escape(one.label), f"{sample.score(predictions):.4f}{escape(interval)}", escape(shown))
    return table


def _costs(soup: ChosenSoup, data: Dataset) -> str:
    """Return a sentence about the size and the latency of the soup and of the ensemble."""
    networks = [*soup.average.chosen.checkpoints, *checkpoints_of(soup.ensemble.chosen.voters)]
    single, *voters = (profile for profile, _ in examine_here(data, networks, [None] * len(networks)))
    parameters, latency = sum(one.parameters for one in voters), sum(one.latency_ms for one in voters)
    views = len(VIEWS[soup.average.chosen.views])
    return (
        f"The soup has {single.parameters / 1e6:.1f} million parameters and takes {single.latency_ms:.1f} ms for "
        f"{'one image' if views == 1 else f'each of {views} views of an image'}; the {soup.ensemble.label} has "
        f"{parameters / 1e6:.1f} million and takes {latency:.1f} ms, {latency / single.latency_ms:.1f} times as long "
        f"({single.device})."
    )


def _scored(contender: Contender, predictions: NDArray[Any], data: Dataset, split: str) -> tuple[NDArray[Any], Sample]:
    """Return predictions and their sample by the unit that the metric counts."""
    task, comparison = task_results(data), contender.chosen.comparison
    unit = PATIENT_UNIT if comparison.metric.startswith(PATIENT) else IMAGE
    return task.by_unit(predictions, comparison.combination, task.sample(split, comparison.metric))[unit]
