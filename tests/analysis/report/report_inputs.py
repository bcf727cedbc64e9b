"""Made-up inputs of a report: a study, an ensemble of its trials, and predictions for a real data set."""

import dataclasses

import numpy as np
import optuna

from analysis.ensembles.compare_rules import compare
from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Openings, Registration
from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.statistics.diversity import diversity
from analysis.trials import CONFIG, FAILURES, ORIGIN, PRUNED, RECIPE, STOPPED, EpochRecord
from trainables.core.inspect.explanation import Explanation, ExplanationRequest
from trainables.core.inspect.latency import Profile

METRIC = "balanced_accuracy"


def add_trial(study, value, epochs=3, state="COMPLETE", params=None, **changes):
    """Add a trial whose score rises to ``value``; with ``params``, it is a recipe."""
    if params is not None:
        study.enqueue_trial(params, {ORIGIN: RECIPE})
    trial = study.ask()
    trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    trial.suggest_categorical("head", ("linear", "mlp"))
    trial.set_user_attr(CONFIG, {"backbone": "scratch_cnn", "image_size": 32, **changes})
    for epoch in range(1, epochs + 1):
        reached = value * epoch / epochs
        best = {f"best_{METRIC}": reached, "best_macro_f1": reached / 2, "best_epoch": epoch}
        metrics = {f"tune/{METRIC}": reached, "epoch_seconds": 1.5, **best}
        trial.set_user_attr(*EpochRecord(epoch, metrics, 1, f"checkpoint-{trial.number}").attribute())
        trial.report(reached, epoch)
    if state == "PRUNED":
        trial.set_user_attr(STOPPED, PRUNED)
    if state == "FAIL":
        trial.set_user_attr(FAILURES, ["RuntimeError: <b>broken</b>"])
    if state != "RUNNING":
        study.tell(trial, value if state == "COMPLETE" else None, state=optuna.trial.TrialState[state])


def made_up_study(values=(0.5, 0.8, 0.6)):
    """One recipe, two trials that ran in full, one stopped early, one that failed before its first report."""
    study = optuna.create_study(study_name="made_up", direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    add_trial(study, values[0], params={"lr": 1e-3, "head": "mlp"})
    for value in values[1:]:
        add_trial(study, value)
    add_trial(study, 0.3, epochs=1, state="PRUNED")
    add_trial(study, 0.0, epochs=0, state="FAIL")
    return study


def made_up_search(data, study):
    names = tuple(f"image {index}.png" for index in range(len(data.labels)))
    return SearchInputs(study, "made_up_space", METRIC, 3, (1,), data, names)


def made_up_ensemble(search, count=2, **changes):
    """An ensemble of the best trials, which predict at random with a bias towards the truth."""
    data, members = search.data, [record for record in search.ranked if record.is_candidate][:count]

    def predict(split, seed):
        labels = data.labels[data.splits[split]]
        generator = np.random.default_rng(seed)
        shape = len(members), len(labels), len(data.class_names)
        odds = np.exp(generator.normal(size=shape) + 1.5 * np.eye(shape[2])[labels])
        sample = ClassificationResults(data).sample(split, METRIC)
        return (odds / odds.sum(axis=2, keepdims=True)).astype(np.float32), sample

    on_select, select = predict("select", 0)
    on_test, test = predict("test", 1)
    comparison = compare(on_select, select)
    chosen = ChosenEnsemble(
        members=tuple(members),
        member_scores=tuple(select.score(member) for member in on_select),
        comparison=comparison,
        diversity=diversity(on_select, select.labels),
        views="none",
        images=len(select.labels),
        groups=len(select.members),
    )
    evaluation = ClassificationResults.evaluate(on_test, comparison.combination, test, 0)
    result = EnsembleResult(
        chosen, evaluation, Openings(1, 0), Registration("1", "champion", "no version was the champion before")
    )
    ensemble = EnsembleInputs(result, "made_up_space", on_test)
    return dataclasses.replace(ensemble, **changes)


def with_result(ensemble, **changes):
    """Replace the evaluation or, with ``comparison``, the comparison of rules."""
    result = ensemble.result
    if "comparison" in changes:
        changes["chosen"] = dataclasses.replace(result.chosen, comparison=changes.pop("comparison"))
    return dataclasses.replace(ensemble, result=dataclasses.replace(result, **changes))


def made_up_inspection(search, ensemble, embedded=60):
    """Random features and heat maps; the predictions on training images are all correct."""
    data = search.data
    both = np.concatenate([data.splits["fit"], data.splits["test"]])
    request = ExplanationRequest(
        np.random.default_rng(0).permutation(both)[:embedded], data.splits["test"][:4], np.array([0, 1, 2, 0])
    )
    generator = np.random.default_rng(2)
    features = generator.normal(size=(len(request.feature_images), 8)).astype(np.float32)
    probabilities = np.eye(len(data.class_names), dtype=np.float32)[data.labels[request.feature_images]]
    maps = generator.random((4, 3, 3), dtype=np.float32)
    profiles = [Profile(400_000, 1.5, "a made-up device")] * len(ensemble.chosen.members)
    return Inspection(profiles, request, Explanation(features, probabilities, maps))
