"""Effect of the hyperparameters on the objective, drawn by Optuna from the trials that ran in full."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState

from analysis.report.figures.style import COLOURS, NothingToDrawError, escaped, whole_step

# Fewer trials that ran in full are drawn as points, but say nothing about which parameter matters.
ENOUGH_TRIALS = 10
ENOUGH_FOR_SLICES = 4
# Amber for worse or earlier trials, blue for better or later ones. Both are visible on white and on black.
_WORSE, _BETTER = (212, 138, 42), (47, 116, 192)
_MOST_PARAMS = 8
_TICK_LENGTH = 14


def importance(study: optuna.Study) -> go.Figure:
    """Draw the importance of each varying parameter by PED-ANOVA (Watanabe et al. 2023), Optuna's default."""
    _comparable_trials(study)
    with _no_warnings():  # without ``params``, constant parameters would get a share of the importance, too
        figure = optuna.visualization.plot_param_importances(study, params=list(_varying(study)))
    figure.update_traces(marker_color=COLOURS[0])
    figure.update_layout(height=120 + 26 * len(figure.data[0].y), showlegend=False)
    figure.update_xaxes(title="share of the importance", range=[0, 1.15 * max(figure.data[0].x)])
    figure.update_yaxes(title="")
    return figure


def parallel_coordinates(study: optuna.Study, metric: str) -> go.Figure:
    """Draw each completed trial as a line through its parameters, blue for the best and amber for the worst."""
    completed = _comparable_trials(study)
    shared = set.intersection(*(set(trial.params) for trial in completed))
    chosen = [name for name in most_important(study) if name in shared][:_MOST_PARAMS]
    if not chosen:
        raise NothingToDrawError("The trials that ran in full share no parameter in which they differ.")
    with _no_warnings():
        figure = optuna.visualization.plot_parallel_coordinate(study, params=chosen, **_target(metric))
    maximize = study.direction == optuna.study.StudyDirection.MAXIMIZE
    for trace in figure.data:
        if trace.mode == "lines":  # a trial; its first point is its value, scaled from 0 (lowest) to 1 (highest)
            share = trace.y[0] if maximize else 1 - trace.y[0]
            trace.update(line={"color": _blend(share), "width": 2}, opacity=0.8)
    figure.update_traces(marker={"colorscale": _scale(), "reversescale": not maximize}, selector={"mode": "markers"})
    figure.for_each_annotation(lambda tick: tick.update(text=escaped(tick.text, _TICK_LENGTH)))
    figure.update_layout(height=440)
    return figure


def slices(study: optuna.Study, metric: str) -> go.Figure:
    """Draw the objective against each of the most important parameters."""
    _comparable_trials(study)
    with _no_warnings():
        figure = optuna.visualization.plot_slice(study, params=most_important(study)[:_MOST_PARAMS], **_target(metric))
    figure.update_traces(marker={"colorscale": _scale(), "size": 9, "line": {"width": 0}})
    figure.update_traces(marker={"colorbar": {"dtick": whole_step(2 * len(study.trials))}})
    _move_titles_to_top(figure)
    figure.update_xaxes(nticks=4, tickangle=45)
    figure.update_layout(height=400, showlegend=False)
    return figure


def drawn_params(study: optuna.Study) -> int:
    """Return the largest number of parameters that ``slices`` and ``parallel_coordinates`` draw."""
    return min(_MOST_PARAMS, len(_varying(study)))


def most_important(study: optuna.Study) -> list[str]:
    """Return the varying parameters, most important first; if importance is undefined, most frequent first."""
    counts = _varying(study)
    try:
        with _no_warnings():
            importances = optuna.importance.get_param_importances(study, params=list(counts))
    except (ValueError, RuntimeError):
        importances = {}
    return sorted(counts, key=lambda name: (-importances.get(name, 0), -counts[name]))


def completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that ran in full."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _varying(study: optuna.Study) -> dict[str, int]:
    """Return the parameters in which completed trials differ, with the number of trials that have each."""
    values: dict[str, list[str]] = {}
    for trial in completed_trials(study):
        for name, value in trial.params.items():
            values.setdefault(name, []).append(repr(value))
    return {name: len(taken) for name, taken in values.items() if len(set(taken)) > 1}


def _comparable_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed trials, or raise if they are too few or too alike to compare parameters."""
    completed = completed_trials(study)
    if len(completed) < 2:
        have = {0: "none has", 1: "one has"}[len(completed)]
        raise NothingToDrawError(f"At least two trials must have run in full; {have}.")
    if len({trial.value for trial in completed}) < 2:
        raise NothingToDrawError(f"All {len(completed)} trials that ran in full have the same value.")
    if not _varying(study):
        raise NothingToDrawError(f"The {len(completed)} trials that ran in full have the same parameters.")
    return completed


def _move_titles_to_top(figure: go.Figure) -> None:
    """Move the titles of the x axes above the plots, out of the way of long tick labels."""
    for axis in figure.select_xaxes():
        start, end = axis.domain or (0, 1)
        figure.add_annotation(
            text=axis.title.text,
            x=(start + end) / 2,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="center",
            yanchor="bottom",
            showarrow=False,
        )
        axis.title.text = None


def _target(metric: str) -> dict[str, Any]:
    """Return plot options that name the objective; Optuna requires ``target`` along with ``target_name``."""
    return {"target": lambda trial: trial.value, "target_name": metric}


def _blend(share: float) -> str:
    """Return the colour at a share of the way from worse to better."""
    mixed = (round(low + (high - low) * share) for low, high in zip(_WORSE, _BETTER, strict=True))
    return f"rgb({', '.join(map(str, mixed))})"


def _scale() -> list[tuple[float, str]]:
    return [(0.0, _blend(0)), (1.0, _blend(1))]


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence Optuna's warnings about its experimental functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
