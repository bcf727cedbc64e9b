"""The first paragraph of a report."""

from analysis.report.inputs import EnsembleInputs, SearchInputs, best_value
from analysis.report.sections.wording import about_test, number, plural, with_interval
from analysis.report.task_sections import sections_of_task
from analysis.trials import PRUNED, network_of

NO_ENSEMBLE = "This search has no ensemble yet: its test set is still sealed and no model is registered."


def summary(search: SearchInputs, ensemble: EnsembleInputs | None) -> str:
    """Summarise a search and its result in one paragraph."""
    best = search.ranked[0] if search.ranked else None
    sentences = [_about_search(search)]
    if best is not None:
        value = number(best_value(best, search.metric)) or "no finite value"
        sentences.append(
            f"Trial {best.number} ({network_of(best)}) was the best; it reached {value} on {search.data.scored_on}."
        )
    sentences += _about_ensemble(search, ensemble) if ensemble else [NO_ENSEMBLE]
    return " ".join(sentences)


def _about_search(search: SearchInputs) -> str:
    states = [record.state for record in search.records]
    stopped_at_rung = sum(record.stopped == PRUNED for record in search.records)
    counts = {
        "ran in full": states.count("COMPLETE"),
        "stopped at a rung": stopped_at_rung,
        "ran until the time was up": states.count("PRUNED") - stopped_at_rung,
        "failed": states.count("FAIL"),
        "running": states.count("RUNNING"),
    }
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "none yet"
    networks = {network_of(record) for record in search.records if record.config}
    return (
        f"The search space {search.space} was searched for the best {search.metric} on "
        f"{sections_of_task(search.data).describe_images(search.data)}, in {plural(len(states), 'trial')} of up to "
        f"{plural(search.epochs, 'epoch')} ({outcomes}) with {plural(len(networks), 'network')}."
    )


def _about_ensemble(search: SearchInputs, ensemble: EnsembleInputs) -> list[str]:
    metric, comparison = search.metric, ensemble.chosen.comparison
    members = len(ensemble.chosen.members)
    test, name = ensemble.evaluation.by(metric)
    return [
        f"The ensemble was built from the best {plural(members, 'trial') if members > 1 else 'trial'} by the rule "
        f"{comparison.chosen} and scores {number(comparison.score) or 'no finite value'} on "
        f"{search.data.chosen_on}.",
        f"On test, it reaches {metric} {with_interval(test.ensemble, name) or 'undefined'}"
        f"{' (95% interval)' if name in test.ensemble.intervals else ''}.",
        about_test(search, ensemble),
        ensemble.outcome,
    ]
