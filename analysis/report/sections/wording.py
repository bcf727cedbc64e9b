"""Phrases and number formats that several sections share."""

import math
from collections.abc import Sequence
from statistics import median

from analysis.ensembles.evaluation import Scores
from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.trials import TrialRecord
from trainables.core.data.fact import Fact
from trainables.core.metric_names import METRICS
from trainables.core.plural import plural


def number(value: float | None, digits: int = 4) -> str:
    """Format a number; return an empty string for None and non-finite values."""
    # Adding 0 turns -0.0 into 0.0.
    return "" if value is None or not math.isfinite(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def shortened(text: str, length: int = 40) -> str:
    """Shorten a name from outside to ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def label_of(metric: str) -> str:
    """Return a metric's name as sentences use it, such as ``AUROC``; the bare name of those without one."""
    return next((known.label for known in METRICS if known.name == metric), metric)


def param_value(value: object) -> str:
    """Format a hyperparameter's value; return an empty string for None."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def with_interval(scores: Scores, name: str) -> str:
    """Format a test metric with its 95% interval, such as ``0.833 [0.750, 0.901]``."""
    if name not in scores.metrics:
        return ""
    interval = scores.intervals.get(name)
    return f"{scores.metrics[name]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def sentence(text: str) -> str:
    """Turn a note into a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def told_apart(notes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide the notes of a data set into facts and warnings, as sentences."""
    facts = tuple(sentence(note) for note in notes if isinstance(note, Fact))
    return facts, tuple(sentence(note) for note in notes if not isinstance(note, Fact))


def epoch_seconds(record: TrialRecord) -> float | None:
    """Return the median duration of a trial's epochs in seconds, or None if unknown."""
    times = [epoch.metrics["epoch_seconds"] for epoch in record.epochs if "epoch_seconds" in epoch.metrics]
    return median(times) if times else None


def leak_warning(search: SearchInputs) -> str:
    """Return the warning that accompanies all test scores if the test split leaks, or an empty string."""
    return sentence(search.data.leak) if search.data.leak else ""


def about_scores(search: SearchInputs) -> str:
    """Say what the scores of trials were measured on, and that they are optimistic."""
    data = search.data
    images = len(data.splits[data.training if data.folds else "tune"])
    return (
        f"Scores are on {data.scored_on} ({plural(images, 'image')}). They guided the search, so they are optimistic."
    )


def about_test(search: SearchInputs, ensemble: EnsembleInputs) -> str:
    """Say what the test split is, how large it is, and how often it was opened."""
    data, groups = search.data, ensemble.evaluation.groups
    size = f"{plural(len(data.splits['test']), 'image')} in {plural(groups, 'group')}"
    return f"The test split ({data.test_description}) has {size} and was {ensemble.result.openings.describe()}."
