import json
from dataclasses import replace

import numpy as np
import optuna
import pytest

import tuning.ensemble.build
from analysis.ensembles.result import ChosenEnsemble, Openings, Registration
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.choose import task_results
from analysis.trials import read_trials
from tests.tuning.ensemble.made_up import METRIC, Inference, find, made_up_study, quiet
from trainables.core.training.cross_validation import OutOfFold
from tuning.ensemble.build import choose_ensemble
from tuning.ensemble.members import EnsembleRequest, choose_members
from tuning.ensemble.saved_ensemble import load_ensemble, save_registration


def test_the_test_set_is_opened_once_for_an_ensemble_and_the_study_remembers(study, data):
    infer = Inference(data)
    first = find(study, data, infer)
    assert infer.splits == ["select", "test"]
    assert [record.number for record in first.chosen.members] == [1, 3, 2, 0]
    assert find(study, data, infer) == first
    assert infer.splits == ["select", "test"]
    assert first.openings == Openings(here=1, elsewhere=2)
    assert load_ensemble(study, first.openings) == first


def test_an_ensemble_of_cross_validated_trials_is_chosen_out_of_fold(elsewhere, data, monkeypatch):
    """A trial that was stopped before its last fold has no predictions of the other images."""
    study = made_up_study(epochs=(2, 2, 2, 1, 1))
    folds = tuple(np.arange(start, 150, 2) for start in range(2))
    folded = replace(data, splits={"pool": np.arange(150), "test": data.splits["test"]}, folds=folds)
    infer = Inference(folded)
    read = []

    def read_out_of_fold(place):
        read.append(place)
        return OutOfFold(np.concatenate(folds), infer([place], "pool")[0][np.concatenate(folds)])

    monkeypatch.setattr(tuning.ensemble.build, "read_out_of_fold", read_out_of_fold)
    result = find(study, folded, infer, folds=2)
    chosen = result.chosen
    assert read == ["checkpoint-1", "checkpoint-2", "checkpoint-0"]
    assert [record.number for record in chosen.members] == [1, 2, 0]
    assert (chosen.images, chosen.folds, chosen.metric_prefix) == (150, 2, "oof")
    assert chosen.selection_bias.trials == 3
    assert chosen.selection_bias.score == chosen.member_scores[0]
    assert chosen.selection_bias.corrected < chosen.selection_bias.score
    assert find(study, folded, infer, folds=2) == result  # from the study


def test_other_members_or_views_open_it_again(study, data):
    infer = Inference(data)
    for changes in ({"k": 3}, {"k": 2}, {"k": 2, "views": "flips"}):
        last = find(study, data, infer, **changes)
    assert infer.splits.count("test") == last.openings.here == 3


def test_an_opening_is_counted_before_it_happens(study, data):
    class Broken(Inference):
        def __call__(self, checkpoints, split):
            if split == "test":
                raise RuntimeError("a node died")
            return super().__call__(checkpoints, split)

    with pytest.raises(RuntimeError, match="a node died"):
        find(study, data, Broken(data))
    assert find(study, data, Inference(data)).openings.here == 2


def test_the_registration_is_remembered(study, data):
    find(study, data, Inference(data))
    registration = Registration("3", "challenger", "it has only balanced_accuracy 0.5")
    save_registration(study, registration)
    assert find(study, data, Inference(data)).registration == registration
    line = "Registered: models:/space@challenger (version 3): it has only balanced_accuracy 0.5"
    assert registration.describe("space") == line


def test_without_a_finished_trial_there_is_no_ensemble(data):
    study = optuna.create_study()
    assert find(study, data, Inference(data)) is None
    assert load_ensemble(study, Openings(0, None)) is None


def test_a_forced_rule_is_chosen_and_members_are_scored_on_select(study, data):
    members = choose_members(study, EnsembleRequest(METRIC), quiet())
    chosen = choose_ensemble(members, data, EnsembleRequest(METRIC, rule="greedy"), Inference(data))
    assert chosen.comparison.chosen == "greedy"
    predictions = Inference(data)(["checkpoint-1"], "select")
    assert chosen.member_scores[0] == task_results(data).sample("select", METRIC).score(predictions[0])
    trials = {record.number: record for record in read_trials(study)}
    assert from_json(json.loads(json.dumps(to_json(chosen))), ChosenEnsemble, trials) == chosen


def test_members_with_labels_are_compared_at_their_own_thresholds(study, labelled_data):
    """Low probabilities, which are all below 0.5, separate the labels as well as high ones."""
    truth = labelled_data.labels[labelled_data.splits["select"]]
    low, high = 0.1 + 0.2 * truth, np.where(np.random.default_rng(0).random(truth.shape) < 0.2, 1 - truth, truth)
    predictions = np.stack([high, low]).astype(np.float32)
    members = choose_members(study, EnsembleRequest(METRIC, k=2), quiet())
    request = EnsembleRequest("macro_f1", k=2)
    chosen = choose_ensemble(members, labelled_data, request, lambda *_: predictions)
    assert chosen.member_scores[1] == 1.0 > chosen.member_scores[0]
    assert chosen.best_member == 1
    assert chosen.diversity.mean_disagreement == pytest.approx((high != truth).any(axis=1).mean())


def test_members_are_scored_by_the_patient_rule_of_the_ensemble_on_select_and_test(study, data):
    """Each ill patient has a slice with the lesion, and one that looks healthier than those of the healthy."""
    ill = np.repeat(np.arange(100) % 2, 2)
    labels = ill * np.tile([0, 1], 100)
    data = replace(data, labels=labels, patients=data.groups, healthy="a")
    lesion = np.where(labels, 0.6, np.where(ill, 0.02, 0.4))

    def infer(checkpoints, split):
        shown = np.linspace(0, 0.01, len(checkpoints))[:, None] + lesion[data.splits[split]]
        return np.stack([1 - shown, shown], axis=2).astype(np.float32)

    result = find(study, data, infer, f"patient_{METRIC}")
    assert result.chosen.comparison.combination.patients.kind == "any-lesion"
    on_test = [scores.metrics[METRIC] for scores in result.evaluation.patients.members]
    assert list(result.chosen.member_scores) == on_test == [1.0] * 4


def test_members_with_labels_are_compared_at_their_own_thresholds_of_patients(study, data):
    """The means of a patient's images separate the patients, but no image shows where its label is."""
    ill = np.repeat(np.arange(100) % 2, 2)
    here = np.tile([0, 1], 100)
    labels, shown = ill * here, np.where(ill, np.where(here, 0.4, 0.6), np.where(here, 0.5, 0.1))
    data = replace(data, labels=np.stack([labels, 1 - ill], axis=1), patients=data.groups)
    both = np.stack([shown, 1 - shown], axis=1)[data.splits["select"]]
    members = choose_members(study, EnsembleRequest(METRIC, k=2), quiet())
    request = EnsembleRequest("patient_macro_f1", k=2)
    chosen = choose_ensemble(members, data, request, lambda *_: np.stack([both, both]).astype(np.float32))
    assert chosen.member_scores == (1.0, 1.0)
