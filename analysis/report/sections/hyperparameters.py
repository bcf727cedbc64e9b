"""Hyperparameters that mattered: importance, parallel coordinates, slices."""

from functools import partial

from analysis.report.figures.hyperparameters import (
    FEW_TRIALS,
    completed_trials,
    drawn_params,
    importance,
    parallel_coordinates,
    slices,
)
from analysis.report.figures.style import draw_panel
from analysis.report.inputs import SearchInputs
from analysis.report.page import Section
from analysis.report.sections.wording import plural


def hyperparameters(search: SearchInputs) -> Section:
    """Show how the objective depends on the hyperparameters."""
    study, count = search.study, len(completed_trials(search.study))
    few = " With so few trials, treat this as a hint, not as evidence." if count < FEW_TRIALS else ""
    caveat = f"Based on {search.metric} on tune of {plural(count, 'trial')} that ran in full.{few}"
    width = 120 * drawn_params(study)
    return Section(
        "What mattered",
        "parameters",
        [
            draw_panel(
                "Hyperparameter importance",
                "A longer bar means that the parameter explains more of the difference between the best trials and "
                "all trials (PED-ANOVA, Watanabe et al. 2023).",
                f"{caveat} The search tried promising values more often, which the estimate does not correct for. It "
                "has no confidence interval.",
                partial(importance, study),
            ),
            draw_panel(
                "Parallel coordinates",
                "One line per trial, from its score on the left through its parameters. Blue lines scored best, amber "
                "lines worst.",
                f"{caveat} Shown are the most important of the parameters that all of these trials have.",
                partial(parallel_coordinates, study, search.metric),
                width,
            ),
            draw_panel(
                "Slices",
                "The score against each parameter, one point per trial. Blue points ran later, amber points earlier.",
                f"{caveat} The other parameters vary along with the one shown.",
                partial(slices, study, search.metric),
                width + 160,
            ),
        ],
    )
