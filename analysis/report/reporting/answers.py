"""Answers to the items of CLAIM that the search itself knows."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from analysis.ensembles.evaluation import Evaluation
from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.report.reporting.data_flow import characteristics, share_groups
from analysis.report.sections.wording import about_test, label_of, sentence, with_interval
from analysis.report.task_sections import sections_of_task
from analysis.trials import MUTATION, PORTFOLIO, PRUNED, RECIPE, SAMPLER, WARM_START, network_of
from trainables.core.config import SCRATCH
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import METRICS
from trainables.core.plural import plural

FILLED, PARTLY, OPEN = "filled", "partly", "for you to state"
_PACKAGES = ("torch", "torchvision", "timm", "optuna", "ray", "scikit-learn")
_ORIGINS = {
    WARM_START: "from earlier searches",
    PORTFOLIO: "from a portfolio of other data sets",
    RECIPE: "published or written by hand",
    MUTATION: "mutated from one of the best before them",
    SAMPLER: "chosen by Bayesian optimisation (TPE, at random until enough have been tried)",
}
_SECTIONS = {
    "scores": "Test scores",
    "data": "The data",
    "models": "The models",
    "flow": "Data flow",
    "leaderboard": "Leaderboard",
    "load": "How to load the model",
}


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
    software = Answer(FILLED, f"Python {platform.python_version()}, {packages}.", "the last line")
    return (
        {23: software}
        | _about_data(search)
        | _about_training(search)
        | (_about_model(search, ensemble) if ensemble else {})
    )


def _about_data(search: SearchInputs) -> dict[int, Answer]:
    data = search.data
    used = len(np.unique(np.concatenate(list(data.splits.values()))))
    unused = len(data.labels) - used
    return {
        1: Answer(PARTLY, f"Supervised deep learning: {sections_of_task(data).kind}. The title is for you to choose."),
        7: Answer(PARTLY, f"Images at {data.place} (SHA-256 {data.fingerprint[:12]}).", _SECTIONS["data"]),
        9: Answer(FILLED, _preprocessing(search), _SECTIONS["data"]),
        10: Answer(FILLED, f"{used} of {plural(len(data.labels), 'image')} are in a partition.", _SECTIONS["flow"]),
        12: Answer(PARTLY, "Images that cannot be used are left out; labels are not imputed.", _SECTIONS["flow"]),
        19: Answer(FILLED, _assignment(search), _SECTIONS["flow"]),
        20: Answer(FILLED, _disjoint(search), _SECTIONS["flow"]),
        35: Answer(
            PARTLY if data.patients is None else FILLED,
            f"{plural(used, 'image')} of {_patients(data)}; {unused + search.unlisted or 'none'} excluded.",
            _SECTIONS["flow"],
        ),
        36: Answer(
            PARTLY,
            f"{', '.join([_counted(data), *characteristics(search)])} in each partition.",
            _SECTIONS["flow"],
        ),
    }


def _counted(data: Dataset) -> str:
    if not data.image_classes:
        return "Images and groups"
    return "Labels" if data.labels.ndim == 2 else "Classes"


def _class_word(data: Dataset) -> str:
    return "label" if data.labels.ndim == 2 else "class"


def _patients(data: Dataset) -> str:
    used = np.concatenate(list(data.splits.values()))
    if data.patients is not None:
        return f"{len(np.unique(data.patients[used]))} patients"
    named = data.audit.named if data.audit else "groups"
    return f"{len(np.unique(data.groups[used]))} {named}, whose number of patients is for you to state"


def _preprocessing(search: SearchInputs) -> str:
    data, pixels = search.data, search.data.pixel_format
    sizes = sorted({record.config["image_size"] for record in search.records if record.config})
    side = f"resized to {' or '.join(f'{size} x {size}' for size in sizes)} pixels" if sizes else "resized"
    window = f" at a window of centre {pixels.window[0]:g} and width {pixels.window[1]:g}" if pixels.window else ""
    steps = [
        f"converted to 8-bit {'grey' if pixels.channels == 1 else 'colour'}{window}",
        *(["cropped to the region that a segmentation model found"] if data.regions else []),
        side,
    ]
    slices = f" Of each volume, at most {pixels.slicing.count} {pixels.slicing.axis} slices." if pixels.slicing else ""
    return f"Images were {' and '.join([', '.join(steps[:-1]), steps[-1]])}.{slices}"


def _assignment(search: SearchInputs) -> str:
    data = search.data
    parts = "fit (training), tune (choice of models) and select (choice of the ensemble)"
    parts = f"{len(data.folds)} folds" if data.folds else parts
    stratified = f", stratified by {_class_word(data)}," if data.image_classes else ""
    rest = f"The rest was divided into {parts} at random by whole groups{stratified} with a fixed seed."
    return f"Test set: {data.test_description}. {rest}"


def _disjoint(search: SearchInputs) -> str:
    data = search.data
    named = data.audit.named if data.audit else "groups"
    if share_groups(data):
        return f"Partitions are not disjoint by {named}: {data.leak or 'training and selection share some'}."
    if data.patients is not None:
        return "Partitions are disjoint by patient, as given."
    given = data.audit is not None and data.audit.threshold is None
    return f"Partitions are disjoint by {named} ({'as given' if given else 'found by similarity of pixels'})."


def _about_training(search: SearchInputs) -> dict[int, Answer]:
    return {
        24: _initial_weights([record.config for record in search.records if record.config]),
        25: Answer(FILLED, _trials(search), _SECTIONS["leaderboard"]),
        26: Answer(
            FILLED,
            f"Models were selected by {label_of(search.metric)} on {search.data.scored_on}, never on test.",
            _SECTIONS["leaderboard"],
        ),
    }


def _initial_weights(configs: Sequence[Mapping[str, Any]]) -> Answer:
    kinds = Counter(str(config.get("weights", "pretrained")) for config in configs if config.get("backbone") != SCRATCH)
    random = len(configs) - kinds.total() + kinds.pop("random", 0)
    some = f"; {random} of {len(configs)} configurations started from random weights" if random else ""
    state, text = FILLED, f"Training started from weights pretrained on natural images (transfer learning){some}."
    if not kinds:
        text = "Training started from random weights." if configs else "No training has started."
    elif set(kinds) != {"pretrained"}:
        state, text = PARTLY, f"Training started from pretrained weights (transfer learning){some}. State their source."
    return Answer(state, text, _SECTIONS["leaderboard"])


def _trials(search: SearchInputs) -> str:
    origins = Counter(record.origin for record in search.records)
    known = [f"{origins[origin]} {words}" for origin, words in _ORIGINS.items() if origins[origin]]
    stopped = sum(record.stopped == PRUNED for record in search.records)
    early = f" {stopped} of them stopped early." if stopped else ""
    trials = f"{plural(len(search.records), 'configuration')} of up to {plural(search.epochs, 'epoch')}"
    return f"{trials}: {', '.join(known) or 'none yet'}.{early}"


def _about_model(search: SearchInputs, ensemble: EnsembleInputs) -> dict[int, Answer]:
    chosen, evaluation, (test, name) = ensemble.chosen, ensemble.evaluation, ensemble.evaluation.by(search.metric)
    networks = Counter(f"{network_of(record)} ({record.config.get('image_size')} pixels)" for record in chosen.voters)
    listed = ", ".join(f"{count} x {name}" if count > 1 else name for name, count in networks.items())
    metrics = ", ".join(metric.label for metric in METRICS if metric.name in evaluation.ensemble.metrics)
    of_task = sections_of_task(search.data)
    how = f"{'The networks are combined' if networks.total() > 1 else 'One network is chosen'} by the rule"
    combined = f"{how} {chosen.comparison.chosen}, on {search.data.chosen_on}."
    if len(chosen.members) == 1:
        combined = "There is one network only, so nothing is combined."
    caveats = [note.replace(" (*)", "") for note in evaluation.caveats()]  # tables have no such mark here
    found = {
        2: Answer(PARTLY, "The first paragraph of this report.", "the opening"),
        22: Answer(FILLED, f"{plural(networks.total(), 'network')}: {listed}.", _SECTIONS["models"]),
        27: Answer(FILLED, combined, _SECTIONS["models"]),
        28: Answer(FILLED, f"Metrics: {metrics}.", _SECTIONS["scores"]),
        29: _uncertainty(evaluation),
        32: Answer(FILLED, about_test(search, ensemble), _SECTIONS["scores"]),
        37: Answer(
            FILLED if name in test.ensemble.intervals else PARTLY,
            f"{label_of(search.metric)} {with_interval(test.ensemble, name) or 'undefined'} on test.",
            _SECTIONS["scores"],
        ),
        38: _scores_by_class(evaluation, _class_word(search.data)),
        39: Answer(PARTLY, "Mistakes are shown; their causes are for you to judge.", of_task.examples_title),
        40: Answer(
            PARTLY,
            " ".join(map(sentence, filter(None, [search.data.leak, *caveats]))) or "One data set, tested internally.",
            "the opening",
        ),
        43: Answer(
            PARTLY, f"Model {ensemble.model}." if ensemble.model else "The model is not registered.", _SECTIONS["load"]
        ),
    }
    if of_task.explanation:
        found[31] = Answer(PARTLY, of_task.explanation, of_task.examples_title)
    return found


def _uncertainty(evaluation: Evaluation) -> Answer:
    levels = evaluation.levels().values()
    tested = any(level.p_value is not None for level in levels)
    if any(level.ensemble.intervals for level in levels):
        tests = ", and differences are tested by permutation; both take" if tested else ", which take"
        return Answer(FILLED, f"Scores have 95% intervals{tests} whole groups as units.", _SECTIONS["scores"])
    tests = " Differences are tested by permutation of whole groups." if tested else ""
    return Answer(PARTLY, f"There are too few groups for 95% intervals.{tests}", _SECTIONS["scores"])


def _scores_by_class(evaluation: Evaluation, word: str) -> Answer:
    levels = evaluation.levels().values()
    if not any("/" in name for level in levels for name in level.ensemble.intervals):
        return Answer(PARTLY, f"Scores by {word}; there are too few groups for 95% intervals.", _SECTIONS["scores"])
    few = list(dict.fromkeys(name for level in levels for name in (*level.conditional, *level.absent)))
    shown = f"; those of {', '.join(few)} have none, because they have too few groups" if few else ""
    return Answer(PARTLY if few else FILLED, f"Scores by {word} with 95% intervals{shown}.", _SECTIONS["scores"])
