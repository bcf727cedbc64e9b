"""What mattered in a search, drawn by Optuna from the trials that ran in full."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState

from analysis.report.figures.trials import COLOURS, MissingError

# From worse, or earlier, to better, or later: both ends can be seen on white and on black.
_ORDER = ((212, 138, 42), (47, 116, 192))
_MOST_PARAMS = 8
FEW_TRIALS = 20


def importance(study: optuna.Study) -> go.Figure:
    """How much of the objective's variation each parameter that varies explains, by Optuna's PED-ANOVA."""
    _varied(study)
    with _silenced():  # asked for all, it gives those that were the same in every trial a share, too
        figure = optuna.visualization.plot_param_importances(study, params=list(_varying(study)))
    figure.update_traces(marker_color=COLOURS[0])
    figure.update_layout(height=120 + 26 * len(figure.data[0].y), showlegend=False)
    figure.update_xaxes(title="share of the importance", range=[0, 1.15 * max(figure.data[0].x)])
    figure.update_yaxes(title="")
    return figure


def parallel_coordinates(study: optuna.Study, metric: str) -> go.Figure:
    """A line a completed trial through its parameters, the better the bluer."""
    completed = _varied(study)
    shared = set.intersection(*(set(trial.params) for trial in completed))
    chosen = [name for name in most_important(study) if name in shared][:_MOST_PARAMS]
    if not chosen:
        raise MissingError("The trials that ran in full have no parameter in common in which they differ.")
    with _silenced():
        figure = optuna.visualization.plot_parallel_coordinate(study, params=chosen, **_named(metric))
    maximize = study.direction == optuna.study.StudyDirection.MAXIMIZE
    for trace in figure.data:
        if trace.mode == "lines":  # a trial, whose first point is its value between the worst and the best
            share = trace.y[0] if maximize else 1 - trace.y[0]
            trace.update(line={"color": _blend(share), "width": 2}, opacity=0.8)
    figure.update_traces(marker={"colorscale": _scale(), "reversescale": not maximize}, selector={"mode": "markers"})
    figure.update_layout(height=440)
    return figure


def slices(study: optuna.Study, metric: str) -> go.Figure:
    """The objective by each of the parameters that matter most."""
    _varied(study)
    with _silenced():
        figure = optuna.visualization.plot_slice(study, params=most_important(study)[:_MOST_PARAMS], **_named(metric))
    figure.update_traces(marker={"colorscale": _scale(), "size": 9, "line": {"width": 0}})
    figure.update_layout(height=380, showlegend=False)
    return figure


def shown_params(study: optuna.Study) -> int:
    """How many parameters ``slices`` and ``parallel_coordinates`` show at most."""
    return min(_MOST_PARAMS, len(_varying(study)))


def most_important(study: optuna.Study) -> list[str]:
    """The parameters that vary, the most important first; by how many trials have them where that cannot be told."""
    counts = _varying(study)
    try:
        with _silenced():
            found = optuna.importance.get_param_importances(study, params=list(counts))
    except (ValueError, RuntimeError):
        found = {}
    return sorted(counts, key=lambda name: (-found.get(name, 0), -counts[name]))


def _varying(study: optuna.Study) -> dict[str, int]:
    """The parameters in which trials that ran in full differ, and how many of these have them."""
    values: dict[str, list[str]] = {}
    for trial in completed_trials(study):
        for name, value in trial.params.items():
            values.setdefault(name, []).append(repr(value))
    return {name: len(taken) for name, taken in values.items() if len(set(taken)) > 1}


def completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ran in full."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _varied(study: optuna.Study) -> list[FrozenTrial]:
    """The completed trials, if they can tell anything of parameters."""
    completed = completed_trials(study)
    if len(completed) < 2:
        raise MissingError(f"It needs two trials that ran in full, and there {_are(len(completed))}.")
    if len({trial.value for trial in completed}) < 2:
        raise MissingError(f"All {len(completed)} trials that ran in full have the same value.")
    if not _varying(study):
        raise MissingError(f"The {len(completed)} trials that ran in full have the same parameters.")
    return completed


def _named(metric: str) -> dict[str, Any]:
    """The objective under its own name; Optuna wants to be told how to find it then."""
    return {"target": lambda trial: trial.value, "target_name": metric}


def _blend(share: float) -> str:
    """The colour at a share of the way from worse to better."""
    mixed = (round(low + (high - low) * share) for low, high in zip(*_ORDER, strict=True))
    return f"rgb({', '.join(map(str, mixed))})"


def _scale() -> list[tuple[float, str]]:
    return [(0.0, _blend(0)), (1.0, _blend(1))]


def _are(count: int) -> str:
    return {0: "is none", 1: "is one"}.get(count, f"are {count}")


@contextmanager
def _silenced() -> Iterator[None]:
    """A block in which Optuna's experimental parts do not say that they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
