"""Hyperparameters that mattered: importance, parallel coordinates, slices; each only from enough trials."""

from functools import partial

from analysis.report.figures.hyperparameters import (
    ENOUGH_FOR_SLICES,
    ENOUGH_TRIALS,
    completed_trials,
    drawn_params,
    importance,
    parallel_coordinates,
    slices,
)
from analysis.report.figures.style import draw_panel
from analysis.report.inputs import SearchInputs
from analysis.report.page import Block, Panel, Section, Text
from trainables.core.plural import plural


def hyperparameters(search: SearchInputs) -> Section:
    """Show how the objective depends on the hyperparameters, as far as the number of trials allows."""
    count = len(completed_trials(search.study))
    caveat = f"Based on {search.metric} on {search.data.scored_on} of {plural(count, 'trial')} that ran in full."
    blocks: list[Block] = []
    if count < ENOUGH_TRIALS:
        ran = f"{plural(count, 'trial')} ran in full" if count else "No trial ran in full"
        blocks.append(Text("", [f"{ran}: too few to say which parameters mattered (at least {ENOUGH_TRIALS})."]))
    else:
        blocks += _importance(search, caveat)
    if count >= ENOUGH_FOR_SLICES:
        blocks.append(_slices(search, caveat))
    return Section("What mattered", "parameters", blocks, folded=True)


def _importance(search: SearchInputs, caveat: str) -> list[Panel]:
    return [
        draw_panel(
            "Hyperparameter importance",
            "A longer bar means that the parameter explains more of the difference between the best trials and "
            "all trials (PED-ANOVA, Watanabe et al. 2023).",
            f"{caveat} The search tried promising values more often, which the estimate does not correct for. It "
            "has no confidence interval.",
            partial(importance, search.study),
        ),
        draw_panel(
            "Parallel coordinates",
            "One line per trial, from its score on the left through its parameters. Blue lines scored best, amber "
            "lines worst.",
            f"{caveat} Shown are the most important of the parameters that all of these trials have.",
            partial(parallel_coordinates, search.study, search.metric),
            120 * drawn_params(search.study),
        ),
    ]


def _slices(search: SearchInputs, caveat: str) -> Panel:
    return draw_panel(
        "Slices",
        "The score against each parameter, one point per trial. Blue points ran later, amber points earlier.",
        f"{caveat} Shown are the most important parameters. The other ones vary along with the one shown.",
        partial(slices, search.study, search.metric),
        120 * drawn_params(search.study) + 160,
    )
