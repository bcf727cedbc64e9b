import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_curve

from analysis.ensembles.compare_rules import compare
from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.operating_points import ChosenPoint, disease_points, score_point
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Sample
from analysis.statistics.thresholds import HIGHEST_YOUDEN, PointRule
from trainables.core.errors import UserError
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.operating_point import IMAGE, PATIENT

NAMES = ("NORMAL", "PNEUMONIA")


def drawn(groups=60, per_group=3, seed=0, skill=1.5, names=NAMES, healthy="NORMAL"):
    """Probabilities (2, N, C) of two members, and images in groups of one class."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups) % len(names), per_group)
    group_of = np.repeat(np.arange(groups), per_group)
    effect = generator.normal(size=(groups, len(names)))[group_of]
    odds = np.exp(generator.normal(size=(2, len(labels), len(names))) + effect + skill * np.eye(len(names))[labels])
    return odds / odds.sum(axis=2, keepdims=True), Sample(labels, group_of, names, "auroc", healthy)


def points_of(probabilities, sample, rule=HIGHEST_YOUDEN, patients="mean"):
    return disease_points(probabilities, sample, rule, PatientRule(patients))


def test_by_default_the_threshold_has_the_highest_youden_index():
    (member, _), sample = drawn()
    (chosen,), notes = points_of(member, sample)
    false_alarms, found, _ = roc_curve(sample.labels, member[:, 1].astype(np.float32))
    called = chosen.point.decide(member)
    reached = called[sample.labels == 1].mean() - called[sample.labels == 0].mean()
    assert reached == pytest.approx((found - false_alarms).max())
    assert (chosen.point.positive, chosen.point.unit, chosen.point.rule) == ("PNEUMONIA", IMAGE, "youden")
    assert notes == []


def test_a_wished_sensitivity_is_reached_where_the_threshold_was_chosen_and_about_elsewhere():
    (member, _), sample = drawn(groups=600, seed=1)
    (chosen,), _ = points_of(member, sample, PointRule("sensitivity", 0.9))
    called = chosen.point.decide(member)
    assert called[sample.labels == 1].mean() >= 0.9
    assert chosen.held_out and chosen.sensitivity == pytest.approx(0.9, abs=0.02)
    (other, _), others = drawn(groups=600, seed=2)
    assert score_point(chosen.point, other, others).metrics()["sensitivity"] == pytest.approx(0.9, abs=0.05)


def test_of_several_classes_any_disease_is_positive():
    (member, _), sample = drawn(names=("mild", "none", "severe"), healthy="none")
    (chosen,), _ = points_of(member, sample)
    assert chosen.point.positive == "any but none"
    scores = score_point(chosen.point, member, sample)
    ill, called = sample.labels != 1, 1 - member[:, 1] >= chosen.point.threshold
    assert scores.counts == (sum(ill & called), sum(ill & ~called), sum(~ill & ~called), sum(~ill & called))


def test_patients_get_a_point_of_their_own_on_their_combined_predictions():
    (member, _), sample = drawn(groups=90)
    images = (sample.labels, sample.groups, NAMES, "patient_auroc", "NORMAL")
    patients = PatientSample(*images, patients=sample.groups)
    (image, patient), _ = points_of(member, patients, patients="geometric-mean")
    assert (image.point.unit, patient.point.unit) == (IMAGE, PATIENT)
    combined = PatientRule("geometric-mean").apply(member.astype(np.float32), sample.groups)
    called = patient.point.decide(combined)
    labels = sample.labels[::3]
    false_alarms, found, _ = roc_curve(labels, combined[:, 1].astype(np.float32))
    assert called[labels == 1].mean() - called[labels == 0].mean() == pytest.approx((found - false_alarms).max())
    assert patient.groups == (45, 45)


def test_figures_at_a_point_are_those_of_scikit_learn_and_their_intervals_cover_them():
    (member, _), sample = drawn()
    (chosen,), _ = points_of(member, sample)
    scores = score_point(chosen.point, member, sample)
    (cleared, alarms), (missed, found) = confusion_matrix(sample.labels, chosen.point.decide(member))
    assert scores.metrics() == {
        "sensitivity": found / (found + missed),
        "specificity": cleared / (cleared + alarms),
        "ppv": found / (found + alarms),
        "npv": cleared / (cleared + missed),
    }
    assert scores.intervals.keys() == scores.metrics().keys()
    for name, (low, high) in scores.intervals.items():
        assert low < scores.metrics()[name] < high


def test_the_interval_of_the_threshold_narrows_with_the_number_of_groups():
    widths = []
    for groups in (24, 600):
        (member, _), sample = drawn(groups=groups)
        (chosen,), _ = points_of(member, sample)
        low, high = chosen.threshold_interval
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_few_groups_and_figures_that_are_not_held_out_are_said():
    (member, _), sample = drawn(groups=8)
    (chosen,), (note,) = points_of(member, sample)
    assert "rests on 4 positive and 4 negative groups (fewer than 10)" in note
    assert not chosen.held_out and chosen.describe().endswith("on images that chose it")
    assert score_point(chosen.point, member, sample).intervals == {}


def test_a_missing_class_leaves_no_point_and_a_reason():
    (member, _), sample = drawn()
    chosen, (note,) = points_of(member, replace(sample, labels=np.ones_like(sample.labels)))
    assert chosen == [] and note.startswith("there is no operating point by image: it needs images with and without")


def test_a_threshold_that_calls_everything_positive_is_said():
    (member, _), sample = drawn(skill=0)
    _, notes = points_of(np.full_like(member, 0.5), sample, PointRule("sensitivity", 0.95))
    assert any(note.endswith("the threshold calls everything positive") for note in notes)
    _, notes = points_of(np.full_like(member, 0.5), sample, PointRule("specificity", 0.95))
    assert any(note.endswith("the threshold calls nothing positive") for note in notes)


def test_an_unreachable_specificity_is_said():
    _, sample = drawn()
    certain = np.tile([0.0, 1.0], (len(sample.labels), 1))
    _, notes = points_of(certain, sample, PointRule("specificity", 0.9))
    assert any("no threshold reaches it; the chosen one has specificity 0.000" in note for note in notes)


def test_comparing_rules_adds_the_point_on_predictions_that_the_rule_was_not_fitted_to():
    probabilities, sample = drawn()
    comparison = compare(probabilities, sample, "mean", decisions=DecisionRules(PointRule("cost", 5)))
    assert comparison.combination.points == tuple(chosen.point for chosen in comparison.points)
    (expected,), _ = points_of(probabilities.mean(axis=0), sample, PointRule("cost", 5))
    assert comparison.points == (expected,)
    restored = from_json(json.loads(json.dumps(to_json(comparison))), type(comparison))
    assert restored == comparison
    assert isinstance(restored.points[0], ChosenPoint)


def test_without_a_healthy_class_two_classes_are_told_how_to_give_one():
    probabilities, sample = drawn()
    comparison = ClassificationResults.compare(probabilities, replace(sample, healthy=None), "mean")
    assert comparison.points == () and comparison.combination.points == ()
    assert any(note.endswith("set `healthy` to NORMAL or PNEUMONIA in the space") for note in comparison.notes)
    several, sample = drawn(names=("mild", "none", "severe"), healthy=None)
    asked, default = (
        ClassificationResults.compare(several, sample, "mean", rules).notes
        for rules in (DecisionRules(HIGHEST_YOUDEN), None)
    )
    assert any("set `healthy` to mild or none or severe" in note for note in asked)
    assert not any("healthy" in note for note in default)  # many sets of several classes have no healthy one
    with pytest.raises(UserError, match="needs a healthy class"):
        ClassificationResults.check_decisions(DecisionRules(HIGHEST_YOUDEN), None)


def test_test_scores_hold_the_ensembles_figures_at_its_point():
    probabilities, sample = drawn()
    comparison = ClassificationResults.compare(probabilities, sample, "mean")
    evaluation = ClassificationResults.evaluate(probabilities, comparison.combination, sample, 0)
    (at_point,) = evaluation.ensemble.points
    assert {name: evaluation.metrics()[name] for name in at_point.metrics()} == at_point.metrics()
    assert evaluation.ensemble.intervals["sensitivity"] == at_point.intervals["sensitivity"]
    assert not evaluation.members[0].points and "sensitivity" not in evaluation.members[0].metrics
