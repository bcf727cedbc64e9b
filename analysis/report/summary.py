"""The opening of a report: the test score beside two baselines, what to beware of, and what was searched."""

import math
from collections.abc import Sequence

from analysis.ensembles.tasks.choose import task_results
from analysis.report.inputs import EnsembleInputs, SearchInputs, best_value
from analysis.report.page import Opening, Section, Table, Text
from analysis.report.sections.wording import (
    about_test,
    label_of,
    number,
    sentence,
    shortened,
    told_apart,
    with_interval,
)
from analysis.report.task_sections import sections_of_task
from analysis.statistics.baselines import NEIGHBOUR, Baseline, verdict
from analysis.trials import PRUNED, TrialRecord, network_of
from trainables.core.plural import plural

_SMALL = 50  # groups of test below which the opening says so
_MOST_CLASSES = 4


def opening(search: SearchInputs, ensemble: EnsembleInputs | None) -> Opening:
    """Return the opening of a report."""
    baselines = _baselines(search, ensemble) if ensemble else ()
    leak = search.data.leak if ensemble else None
    notes = [sentence(leak)] if leak else []
    notes += [*_outdated_note(search, ensemble), *_small_set_notes(ensemble, baselines)] if ensemble else []
    facts, warnings = told_apart([note for note in search.data.notes if leak is None or not note.startswith(leak)])
    return Opening(
        title=title(search),
        summary=f"{_result(search, ensemble, baselines) if ensemble else no_ensemble(search)} {_searched(search)}",
        notes=(*notes, *warnings),
        facts=facts,
        scores=_scores(search, ensemble, baselines) if ensemble and baselines else None,
    )


def no_ensemble(search: SearchInputs) -> str:
    """Say that the search has no ensemble of its own yet, and whether its test set was opened."""
    if not search.openings:
        return "This search has not chosen its ensemble yet: its test set is still sealed."
    times = plural(search.openings, "time")
    return (
        f"This search has not chosen its ensemble yet. Its test set was opened {times} by tune-ensemble: the scores of "
        "that model are on its page in MLflow."
    )


def title(search: SearchInputs) -> str:
    """Name the classes and the data set of a search."""
    names = [shortened(name) for name in search.data.class_names]
    shown = ", ".join(names[:_MOST_CLASSES]) + f" and {len(names) - _MOST_CLASSES} more" * (len(names) > _MOST_CLASSES)
    folder = "/".join([part for part in search.data.place.split("/") if part][-2:])
    return f"{shown}: a model from the images of {shortened(folder)}"


def _baselines(search: SearchInputs, ensemble: EnsembleInputs) -> tuple[Baseline, ...]:
    if ensemble.test_predictions is None:
        return ()
    combination = ensemble.chosen.comparison.combination
    return task_results(search.data).baselines(ensemble.test_predictions, combination, search.metric)


def _result(search: SearchInputs, ensemble: EnsembleInputs, baselines: tuple[Baseline, ...]) -> str:
    test, name = ensemble.evaluation.by(search.metric)
    value = with_interval(test.ensemble, name) or "an undefined value"
    interval = " (95% interval)" if name in test.ensemble.intervals else ""
    sentences = [f"On {_test_size(search, ensemble)}, the model reaches {label_of(search.metric)} {value}{interval}."]
    if baselines:
        others = " and ".join(f"the {one.name} {_with_interval(one)}" for one in baselines)
        sentences += [f"On the same images, {others}.", verdict(baselines)]
    return " ".join(sentences)


def _test_size(search: SearchInputs, ensemble: EnsembleInputs) -> str:
    images = plural(len(search.data.splits["test"]), "test image")
    test, name = ensemble.evaluation.by(search.metric)
    if name != search.metric:
        return f"{plural(test.units, 'test patient')} with {images}"
    return f"{images} in {plural(test.groups, 'group')}"


def _with_interval(baseline: Baseline) -> str:
    interval = baseline.interval
    if math.isnan(baseline.score):
        return "reaches an undefined value"
    return f"reaches {baseline.score:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _outdated_note(search: SearchInputs, ensemble: EnsembleInputs) -> list[str]:
    """Name the trials that are not members, although they would rank above one."""
    members = [record.number for record in ensemble.chosen.members]
    candidates = [one for one in search.ranked if one.is_candidate and one.epochs[-1].epoch >= len(search.data.folds)]
    last = max((place for place, one in enumerate(candidates) if one.number in members), default=0)
    missing = [one for one in candidates[:last] if one.number not in members]
    if not missing:
        return []
    return [
        f"This ensemble was chosen without {_named(missing)}, which would rank above one of its members: the search "
        "has continued since then, or a checkpoint is damaged."
    ]


def _named(trials: Sequence[TrialRecord]) -> str:
    """Return, for example, ``trials 3, 1 and 4``."""
    *others, last = [str(record.number) for record in trials]
    return f"trials {', '.join(others)} and {last}" if others else f"trial {last}"


def _small_set_notes(ensemble: EnsembleInputs, baselines: tuple[Baseline, ...]) -> list[str]:
    evaluation, notes = ensemble.evaluation, []
    if any(one.name == NEIGHBOUR and not one.beaten for one in baselines):
        notes.append(
            "This test set does not show that the model is better than copying the label of the training image with "
            "the most similar pixels. The model may have learned to recognise images instead of the disease."
        )
    if evaluation.groups < _SMALL:
        groups = plural(evaluation.groups, "group")
        notes.append(f"The test set is small ({groups}): another draw of patients may give another result.")
    return notes + [sentence(note.replace(" (*)", "")) for note in evaluation.caveats()]


def _scores(search: SearchInputs, ensemble: EnsembleInputs, baselines: tuple[Baseline, ...]) -> Table:
    test, name = ensemble.evaluation.by(search.metric)
    words = {True: "better", False: "worse", None: "not shown to be better"}
    rows = [["the model", with_interval(test.ensemble, name), ""]]
    for one in baselines:
        tested = words[one.beaten] + ("" if one.p_value is None else f" (p = {one.p_value:.2g})")
        rows.append([one.name, _with_interval(one).removeprefix("reaches "), tested])
    headings = ("on the same test images", f"{label_of(search.metric)} [95%]", "the model is")
    return Table("", "", headings, rows, [0], wrapped=True)


def about_search(search: SearchInputs, ensemble: EnsembleInputs | None) -> Section:
    """Say which trial was the best, how the model was made, and how often the test set was opened."""
    sentences = _about_ensemble(search, ensemble) if ensemble else [no_ensemble(search)]
    if search.ranked:
        best = search.ranked[0]
        value = number(best_value(best, search.metric)) or "no finite value"
        reached = f"it reached {value} on {search.data.scored_on}"
        sentences.insert(0, f"Trial {best.number} ({network_of(best)}) was the best; {reached}.")
    return Section("The search", "search", [Text("", [_searched(search), " ".join(sentences)])])


def _searched(search: SearchInputs) -> str:
    states = [record.state for record in search.records]
    stopped_early = sum(record.stopped == PRUNED for record in search.records)
    counts = {
        "ran in full": states.count("COMPLETE"),
        "stopped early": stopped_early,
        "ran until the time was up": states.count("PRUNED") - stopped_early,
        "failed": states.count("FAIL"),
        "unfinished": states.count("RUNNING"),
    }
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "none yet"
    networks = {network_of(record) for record in search.records if record.config}
    return (
        f"The search {search.study.study_name} looked in the space {search.space} for the best "
        f"{label_of(search.metric)} on "
        f"{sections_of_task(search.data).describe_images(search.data)}, in {plural(len(states), 'trial')} of up to "
        f"{plural(search.epochs, 'epoch')} ({outcomes}) with {plural(len(networks), 'network')}."
    )


def _about_ensemble(search: SearchInputs, ensemble: EnsembleInputs) -> list[str]:
    comparison, members, voters = ensemble.chosen.comparison, ensemble.chosen.members, ensemble.chosen.voters
    if len(members) == 1:
        model = f"is {_named(voters)}"
    elif len(voters) == 1:
        model = f"is {_named(voters)}, which the rule {comparison.chosen} chose among {_named(members)},"
    else:
        among = f", chosen among {_named(members)}," * (len(voters) < len(members))
        model = f"combines {_named(voters)}{among} by the rule {comparison.chosen}"
    return [
        f"The model {model} and scores {number(comparison.score) or 'no finite value'} on {search.data.chosen_on}.",
        about_test(search, ensemble),
        ensemble.outcome,
    ]
