"""A report as one HTML file that works offline: it contains all its scripts, data and images, and makes no requests.

The template escapes all texts. Figures are embedded as JSON.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.report.page import Gallery, Opening, Panel, Section
from analysis.report.reporting.section import flow_section, reporting_section
from analysis.report.sections.data_audit import data_audit
from analysis.report.sections.hyperparameters import hyperparameters
from analysis.report.sections.model_comparison import models
from analysis.report.sections.trial_results import curves, leaderboard, origins
from analysis.report.sections.usage import usage
from analysis.report.summary import about_search, no_ensemble, opening
from analysis.report.task_sections import sections_of_task

_HAS_IMAGES = (
    "This page contains images and file names of the data set. Store and share it under the same rules as the data."
)
_HAS_NO_IMAGES = "This page contains no images of the data set, but may contain file names."


def render(search: SearchInputs, ensemble: EnsembleInputs | None, inspection: Inspection, footer: str) -> str:
    """Return the HTML page.

    Args:
        search: The search.
        ensemble: Its ensemble, or None.
        inspection: Measurements of the ensemble's members.
        footer: Sentence that says when and with which versions the page was made.
    """
    return fill_page(opening(search, ensemble), list(_sections(search, ensemble, inspection)), footer)


def fill_page(first: Opening, sections: Sequence[Section], footer: str) -> str:
    """Return the HTML page with these contents.

    Args:
        first: The first lines.
        sections: Content, in order.
        footer: Sentence at the end.
    """
    loader = jinja2.PackageLoader("analysis.report", ".")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["unbroken"] = _unbroken
    panels = [block for section in sections for block in section.blocks if isinstance(block, Panel)]
    figures = [panel.figure for panel in panels if panel.figure is not None]
    return environment.get_template("report.html.j2").render(
        first=first,
        sections=sections,
        kind_of=lambda block: type(block).__name__,
        position_of=lambda figure: next(position for position, other in enumerate(figures) if other is figure),
        figures=Markup(_script_json([json.loads(figure.to_json()) for figure in figures])),
        plotly=Markup(get_plotlyjs()),
        script=Markup(loader.get_source(environment, "report.js")[0]),
        footer=footer,
        about_privacy=_HAS_IMAGES if any(map(_shows_images, sections)) else _HAS_NO_IMAGES,
    )


def _unbroken(cell: str) -> str:
    """Keep the ends of an interval such as ``[0.750, 0.901]`` on one line."""
    return re.sub(r"\[[^]]*\]", lambda interval: interval[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)


def _shows_images(section: Section) -> bool:
    return any(isinstance(block, Gallery) and block.examples for block in section.blocks)


def _sections(search: SearchInputs, ensemble: EnsembleInputs | None, inspection: Inspection) -> Iterator[Section]:
    members = [record.number for record in ensemble.chosen.members] if ensemble else []
    if ensemble is not None:
        of_task = sections_of_task(search.data)
        yield of_task.scores(search, ensemble)
        yield of_task.examples(search, ensemble, inspection)
        yield models(search, ensemble, inspection)
    yield flow_section(search, ensemble)
    yield about_search(search, ensemble)
    yield leaderboard(search, members)
    yield curves(search, members)
    yield hyperparameters(search)
    yield origins(search)
    if search.data.audit is not None:
        yield data_audit(search)
    yield _usage(ensemble) if ensemble else usage(None, no_ensemble(search))
    yield reporting_section(search, ensemble)


def _usage(ensemble: EnsembleInputs) -> Section:
    combines_patients = ensemble.chosen.comparison.patients is not None  # masks of a patient cannot be combined
    return usage(ensemble.model, ensemble.outcome, combines_patients)


def _script_json(value: Any) -> str:
    """Return JSON that is safe inside a script element, whatever texts it holds."""
    return json.dumps(value).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
