"""Answers to the items of CLAIM that the search itself knows."""

import platform
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.report.reporting.data_flow import characteristics, share_groups
from analysis.report.sections.wording import about_test, label_of, with_interval
from analysis.report.task_sections import sections_of_task
from trainables.core.metric_names import METRICS
from trainables.core.plural import plural

FILLED, PARTLY, OPEN = "filled", "partly", "for you to state"
_PACKAGES = ("torch", "torchvision", "timm", "optuna", "ray", "scikit-learn")
_SECTIONS = {"scores": "Test scores", "data": "The data", "models": "The models", "flow": "Data flow"}


@dataclass(frozen=True)
class Answer:
    """An answer to an item.

    Attributes:
        state: ``FILLED`` or ``PARTLY``.
        text: The answer.
        place: Section of the report with more, or empty.
    """

    state: str
    text: str
    place: str = ""


def answers(search: SearchInputs, ensemble: EnsembleInputs | None) -> dict[int, Answer]:
    """Return the answers by item number."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    found = {**_about_data(search), 23: Answer(FILLED, f"Python {platform.python_version()}, {packages}.")}
    return found | _about_training(search) | (_about_model(search, ensemble) if ensemble else {})


def _about_data(search: SearchInputs) -> dict[int, Answer]:
    data = search.data
    unused = len(data.labels) - len(np.unique(np.concatenate(list(data.splits.values()))))
    named = data.audit.named if data.audit else "groups"
    colour = "grey" if data.pixel_format.channels == 1 else "colour"
    sizes = sorted({record.config["image_size"] for record in search.records if record.config})
    side = f"resized to {' or '.join(f'{size} x {size}' for size in sizes)} pixels" if sizes else "resized"
    cropped = " after a crop to the region that a segmentation model found" if data.regions else ""
    return {
        1: Answer(FILLED, f"Supervised deep learning: {data.task.replace('_', ' ')} of images."),
        7: Answer(PARTLY, f"Images at {data.place} (SHA-256 {data.fingerprint[:12]}).", _SECTIONS["data"]),
        9: Answer(FILLED, f"Images converted to 8-bit {colour} and {side}{cropped}."),
        10: Answer(FILLED, f"In no partition: {unused} of {plural(len(data.labels), 'image')}.", _SECTIONS["flow"]),
        12: Answer(PARTLY, "Images that cannot be used are left out; labels are not imputed.", _SECTIONS["flow"]),
        19: Answer(
            FILLED,
            f"Test set: {data.test_description}. The rest was divided at random with a fixed seed.",
            _SECTIONS["flow"],
        ),
        20: Answer(FILLED, _disjoint(search, named)),
        35: Answer(FILLED, f"{plural(len(data.labels), 'image')}, {unused} excluded.", _SECTIONS["flow"]),
        36: Answer(PARTLY, f"{', '.join(['Classes', *characteristics(search)])} in each partition.", _SECTIONS["flow"]),
    }


def _disjoint(search: SearchInputs, named: str) -> str:
    data = search.data
    if share_groups(data):
        return f"Not disjoint by {named}: {data.leak or 'training and selection share some'}."
    given = data.audit is not None and data.audit.threshold is None
    how = "as given" if given else "found by similarity of pixels"
    patients = " and patients" if data.patients is not None else ""
    return f"Disjoint by {named} ({how}){patients}."


def _about_training(search: SearchInputs) -> dict[int, Answer]:
    configs = [record.config for record in search.records if record.config]
    weights = sorted({str(config.get("weights", "pretrained")) for config in configs})
    return {
        24: Answer(
            FILLED,
            "Random weights." if weights == ["random"] else "Weights pretrained on natural images (transfer learning).",
        ),
        25: Answer(
            FILLED,
            f"{plural(len(search.records), 'configuration')} of up to {plural(search.epochs, 'epoch')}, chosen by "
            "Bayesian optimisation (TPE) with early stopping; the leaderboard lists their hyperparameters.",
            "Leaderboard",
        ),
        26: Answer(
            FILLED, f"Models were selected by {label_of(search.metric)} on {search.data.scored_on}, never on test."
        ),
    }


def _about_model(search: SearchInputs, ensemble: EnsembleInputs) -> dict[int, Answer]:
    chosen, (test, name) = ensemble.chosen, ensemble.evaluation.by(search.metric)
    networks = ", ".join(dict.fromkeys(str(record.config.get("backbone", "network")) for record in chosen.members))
    metrics = ", ".join(metric.label for metric in METRICS if metric.name in ensemble.evaluation.ensemble.metrics)
    of_task = sections_of_task(search.data)
    result = f"{label_of(search.metric)} {with_interval(test.ensemble, name) or 'undefined'} on test."
    return {
        2: Answer(PARTLY, "The first paragraph of this report.", "the opening"),
        22: Answer(FILLED, f"{plural(len(chosen.members), 'network')}: {networks}.", _SECTIONS["models"]),
        27: Answer(
            FILLED, f"Combined by {chosen.comparison.chosen}, chosen on {search.data.chosen_on}.", _SECTIONS["models"]
        ),
        28: Answer(FILLED, f"Metrics: {metrics}.", _SECTIONS["scores"]),
        29: Answer(
            FILLED,
            "Intervals are 95% intervals, differences are tested by permutation, both by groups.",
            _SECTIONS["scores"],
        ),
        31: Answer(FILLED, of_task.explanation, of_task.examples_title),
        32: Answer(FILLED, about_test(search, ensemble), _SECTIONS["scores"]),
        37: Answer(FILLED, result, _SECTIONS["scores"]),
        38: Answer(FILLED, "Scores by class with 95% intervals.", _SECTIONS["scores"]),
        39: Answer(PARTLY, "Mistakes are shown; their causes are for you to judge.", _SECTIONS["scores"]),
        40: Answer(
            PARTLY,
            " ".join([search.data.leak or "", *ensemble.evaluation.caveats()]).strip()
            or "One data set, tested internally.",
        ),
        43: Answer(PARTLY, f"Model {ensemble.model}." if ensemble.model else "The model is not registered."),
    }
