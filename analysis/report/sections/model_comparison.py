"""Comparison of the ensemble with its members, and of the ensemble rules."""

from collections.abc import Iterable
from dataclasses import replace

from analysis.ensembles.compare_rules import Comparison
from analysis.ensembles.result import ChosenEnsemble
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs, best_value
from analysis.report.page import Block, Section, Table, Text
from analysis.report.sections.wording import (
    about_test,
    epoch_seconds,
    label_of,
    leak_warning,
    number,
    sentence,
    with_interval,
)
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL
from analysis.trials import network_of
from trainables.core.inspect.latency import Profile
from trainables.core.metric_names import METRICS, MINIMIZED, PATIENT
from trainables.core.serving.predict_classes import VIEWS

_MANY_IMAGES = 15  # of a group on average


def models(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> Section:
    """Compare the ensemble with its members, and the rules that could have built it."""
    comparison = ensemble.chosen.comparison
    notes = list(map(sentence, comparison.notes))
    if comparison.patients:
        rule = comparison.patients.describe(label_of(f"{PATIENT}{comparison.patients.metric}"))
        notes.append(f"A patient's images are combined by {rule}, on {search.data.chosen_on}.")
    blocks: list[Block] = [
        _models_table(search, ensemble, inspection),
        *([_rules_table(search, ensemble)] if len(ensemble.chosen.members) > 1 else []),
        *([Text("", notes)] if notes else []),
    ]
    return Section("The models", "models", blocks, about_test(search, ensemble), leak_warning(search))


def metrics_table(ensemble: EnsembleInputs) -> Table:
    """List the test metrics of the ensemble next to those of the best member, by image and, if any, by patient.

    An ensemble of the best member only has no second column.
    """
    test, best = ensemble.evaluation, ensemble.best_trial
    levels = {"": test} if test.patients is None else {", by image": test, ", by patient": test.patients}
    models = {"ensemble": [level.ensemble for level in levels.values()]}
    if ensemble.chosen.comparison.combination.voters() != [ensemble.best_member]:
        models[f"best member (trial {best.number})"] = [
            level.members[ensemble.best_member] for level in levels.values()
        ]
    rows = [
        [metric.label, *(with_interval(scores, metric.name) for of_levels in models.values() for scores in of_levels)]
        for metric in METRICS
        if metric.name in test.ensemble.metrics
    ]
    about = "There are too few groups for intervals. "
    if test.ensemble.intervals:
        about = "The 95% intervals allow for groups, whose images are not independent. "
    return Table(
        "Metrics",
        f"{about}{_short_intervals(ensemble)}{_significance(ensemble)} {test_caveats(ensemble)}",
        ("metric", *(f"{model}{level}" for model in models for level in levels)),
        rows,
        wrapped=True,
    )


def _short_intervals(ensemble: EnsembleInputs) -> str:
    """Warn of the case in which simulated intervals cover less than they promise (docs/explanation/intervals.md)."""
    evaluation = ensemble.evaluation
    if evaluation.ensemble.per_image or evaluation.units < _MANY_IMAGES * evaluation.groups:  # masks have no shares
        return ""
    return (
        f"Groups have {evaluation.units / evaluation.groups:.0f} images on average: where these are nearly all alike, "
        "95% intervals of shares near 1 hold the truth in about 90% of test sets only. "
    )


def test_caveats(ensemble: EnsembleInputs) -> str:
    """Return the caveats of the test scores as sentences."""
    return " ".join(sentence(note.replace(" (*)", "")) for note in ensemble.evaluation.caveats())


def _models_table(search: SearchInputs, ensemble: EnsembleInputs, inspection: Inspection) -> Table:
    metric, data, (test, name) = search.metric, search.data, ensemble.evaluation.by(search.metric)
    chosen, comparison = ensemble.chosen, ensemble.chosen.comparison
    costs = _costs(ensemble, inspection)
    rows = [
        [
            f"ensemble ({comparison.chosen})",
            "",
            *([] if data.folds else [""]),
            number(comparison.score),
            with_interval(test.ensemble, name),
            *_total_cost(costs[position] for position in comparison.combination.voters()),
            "",
        ]
    ]
    for position, record in enumerate(chosen.members):
        rows.append(
            [
                f"trial {record.number}, {network_of(record)}",
                f"{comparison.combination.weights[position]:.3f}",
                *([] if data.folds else [number(best_value(record, metric))]),
                number(chosen.member_scores[position]),
                with_interval(test.members[position], name),
                *_total_cost([costs[position]]),
                number(epoch_seconds(record), 2),
            ]
        )
    splits = ["out of fold"] if data.folds else ["tune", "select"]
    return Table(
        "Model comparison",
        f"{label_of(metric)} on each split. Scores on {data.scored_on} chose the members, scores on {data.chosen_on} "
        f"chose the rule, and test scores chose nothing. {_about_latency(chosen, inspection)}",
        ("model", "weight", *splits, "test [95% interval]", "million parameters", "latency, ms", "s/epoch"),
        rows,
        [0],
    )


def _about_latency(chosen: ChosenEnsemble, inspection: Inspection) -> str:
    if not inspection.profiles:
        return f"Latency was not measured: {inspection.missing}."
    views = len(VIEWS[chosen.views])
    times = [f"{chosen.folds} models, one per fold"] * (chosen.folds > 1) + [f"{views} views of an image"] * (views > 1)
    measured = f" A member has {' and '.join(times)}: its first model was measured on one view." if times else ""
    return (
        f"Latency is for one image: the median of up to 50 runs on {inspection.profiles[0].device}, where other "
        f"programs may have been running.{measured} The ensemble's is the sum over members with a weight. All run in "
        "sequence."
    )


def _costs(ensemble: EnsembleInputs, inspection: Inspection) -> list[Profile | None]:
    """Return the costs of each member with the models of all its folds and all views; None if it was not measured."""
    models, views = max(ensemble.chosen.folds, 1), len(VIEWS[ensemble.chosen.views])
    costs: list[Profile | None] = [
        replace(one, parameters=models * one.parameters, latency_ms=models * views * one.latency_ms)
        for one in inspection.profiles
    ]
    return costs + [None] * (len(ensemble.chosen.members) - len(costs))


def _total_cost(costs: Iterable[Profile | None]) -> tuple[str, str]:
    """Return the parameters in millions and the latency in milliseconds; empty if a model was not measured."""
    known = list(costs)
    if None in known:
        return "", ""
    parameters, latencies = zip(*((one.parameters, one.latency_ms) for one in known if one), strict=True)
    return f"{sum(parameters) / 1e6:.2f}", f"{sum(latencies):.1f}"


def _rules_table(search: SearchInputs, ensemble: EnsembleInputs) -> Table:
    compared = ensemble.chosen.comparison
    lower = "Lower is better. " if compared.metric in MINIMIZED else ""
    return Table(
        "Ensemble rules",
        f"{label_of(search.metric)} on {search.data.chosen_on}; each rule was scored on images that it was not fitted "
        f"to. {lower}{_how_chosen(compared)}, unless the user asked for another; the chosen rule is in bold.",
        ("rule, simplest first", "score", f"difference from {compared.reference or 'the best'}", "standard error"),
        [
            [rule.rule, number(rule.score), number(compared.difference(rule)), number(rule.error)]
            for rule in compared.rules
        ],
        [position for position, rule in enumerate(compared.rules) if rule.rule == compared.chosen],
    )


def _how_chosen(compared: Comparison) -> str:
    if compared.reference is None:
        return "The simplest rule within one standard error of the best is chosen"
    return (
        f"{compared.reference} is chosen, or the best rule if that is better by more than one standard error and each "
        f"class has at least {GROUPS_FOR_INTERVAL} groups"
    )


def _significance(ensemble: EnsembleInputs) -> str:
    """Say whether the ensemble differs from the best member on the test set."""
    comparison = ensemble.chosen.comparison
    if comparison.combination.voters() == [ensemble.best_member]:
        return "The ensemble consists of its best member only."
    p_value = ensemble.evaluation.by(comparison.metric)[0].p_value
    if p_value is None:
        return "The difference between the two could not be tested."
    return (
        f"The difference in {label_of(comparison.metric)} between the ensemble and its best member has "
        f"p = {p_value:.3g} (two-sided paired permutation test over whole groups)."
    )
