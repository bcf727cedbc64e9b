"""A search as one HTML file that opens offline: everything it needs lies within it, and it asks no server for anything.

Text goes through a template that escapes it, figures through JSON, images are inlined.
"""

import json
from collections.abc import Iterator
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.report.figures.trials import Panel, best_value
from analysis.report.inputs import Ensemble, Looked, Search
from analysis.report.page import Section
from analysis.report.sections.data import dataset
from analysis.report.sections.images import seen
from analysis.report.sections.masks import mask_scores, overlays
from analysis.report.sections.scores import about_test, models, scores, with_interval
from analysis.report.sections.search import curves, found, leaderboard, number, parameters, sentence, usage
from analysis.trials import PRUNED, network_of

_NO_ENSEMBLE = "The search has no ensemble yet, so its test set is sealed and no model is registered."


def render(search: Search, ensemble: Ensemble | None, looked: Looked, made: str) -> str:
    """The whole page.

    Args:
        search: What was searched.
        ensemble: What came of it, or None.
        looked: What was measured of the ensemble's members.
        made: When and with what the page was made, in words.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    sections = list(_sections(search, ensemble, looked))
    panels = [block for section in sections for block in section.blocks if isinstance(block, Panel)]
    figures = [panel.figure for panel in panels if panel.figure is not None]
    source = environment.loader
    assert source is not None
    return environment.get_template("report.html.j2").render(
        title=search.study.study_name,
        summary=summary(search, ensemble),
        notes=list(map(sentence, search.data.notes)),
        sections=sections,
        kind=lambda block: type(block).__name__,
        place=lambda figure: next(at for at, other in enumerate(figures) if other is figure),
        figures=Markup(_json([json.loads(figure.to_json()) for figure in figures])),
        plotly=Markup(get_plotlyjs()),
        drawing=Markup(source.get_source(environment, "report.js")[0]),
        made=made,
    )


def summary(search: Search, ensemble: Ensemble | None) -> str:
    """What was searched and found, in a paragraph."""
    data, metric = search.data, search.metric
    states = [record.state for record in search.records]
    stopped = sum(record.stopped == PRUNED for record in search.records)
    counts = {
        "ran in full": states.count("COMPLETE"),
        "stopped at a rung": stopped,
        "ran until the time was up": states.count("PRUNED") - stopped,
        "failed": states.count("FAIL"),
        "running": states.count("RUNNING"),
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none yet"
    networks = dict.fromkeys(network_of(record) for record in search.records if record.config)
    kind = "network" if data.mask_format else "backbone"
    classes = "with masks" if data.mask_format else f"of {len(data.class_names)} classes"
    sentences = [
        f"The space {search.space} was searched on {len(data.labels)} images {classes} for "
        f"the best {metric}: {len(states)} trials of up to {search.epochs} epochs ({told}) over {len(networks)} "
        f"{kind}{'s' * (len(networks) != 1)}."
    ]
    best = next(iter(search.ranked), None)
    if best is not None:
        value = number(best_value(best, metric)) or "nothing finite"
        sentences.append(
            f"The best one, trial {best.number} ({network_of(best)}), reached {value} on {data.steering_told}."
        )
    if ensemble is None:
        return " ".join([*sentences, _NO_ENSEMBLE])
    scored, compared = ensemble.evaluation, ensemble.comparison
    sentences += [
        f"Of the best {len(ensemble.members)}, {compared.chosen} was chosen as the ensemble with "
        f"{number(compared.score)} on {data.selection_told}.",
        f"On test it has {metric} {with_interval(scored.ensemble, metric) or 'undefined'}.",
        about_test(search, ensemble),
        ensemble.outcome,
    ]
    return " ".join(sentences)


def _sections(search: Search, ensemble: Ensemble | None, looked: Looked) -> Iterator[Section]:
    members = [record.number for record in ensemble.members] if ensemble else []
    yield leaderboard(search, members)
    yield curves(search, members)
    yield parameters(search)
    yield found(search)
    if ensemble is not None:
        yield models(search, ensemble, looked)
        yield mask_scores(search, ensemble) if search.data.mask_format else scores(search, ensemble)
        yield (overlays if search.data.mask_format else seen)(search, ensemble, looked)
    if search.data.audit is not None:
        yield dataset(search)
    yield usage(ensemble.model, ensemble.outcome) if ensemble else usage(None, _NO_ENSEMBLE)


def _json(value: Any) -> str:
    """JSON that may stand in a script element, whatever its texts are."""
    return json.dumps(value).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
