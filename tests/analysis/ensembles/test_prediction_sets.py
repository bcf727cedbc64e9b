import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Scores
from analysis.ensembles.prediction_sets import calibrate_sets, risk_coverage, score_sets
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.ensembles.tasks.multi_label import MultiLabelResults
from analysis.ensembles.tasks.segmentation import SegmentationResults
from analysis.statistics.conformal import lowest_probability
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Sample
from trainables.core.errors import UserError
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.operating_point import IMAGE, PATIENT
from trainables.core.serving.prediction_sets import LabelSets, PredictionSets

NAMES = ("a", "b", "c")


def drawn(groups=(60, 60, 60), per_group=3, seed=0, skill=1.5):
    """Probabilities (N, 3) and images in groups of one class, whose images are alike."""
    generator = np.random.default_rng(seed)
    of_group = np.repeat(np.arange(3), groups)
    group_of = np.repeat(np.arange(len(of_group)), per_group)
    labels = of_group[group_of]
    effect = generator.normal(size=(len(of_group), 3))[group_of]
    odds = np.exp(generator.normal(size=(len(labels), 3)) + effect + skill * np.eye(3)[labels])
    return odds / odds.sum(axis=1, keepdims=True), Sample(labels, group_of, NAMES, "auroc")


def sets_of(probabilities, sample, coverage=None):
    return calibrate_sets(probabilities, sample, PatientRule(), coverage)


def test_each_class_with_enough_groups_has_its_own_threshold():
    probabilities, sample = drawn()
    (sets,), notes = sets_of(probabilities, sample)
    assert (sets.coverage, sets.by_class, sets.unit) == (0.9, True, IMAGE) and notes == []
    for label in range(3):
        has = sample.labels == label
        assert sets.thresholds[label] == lowest_probability(probabilities[has, label], sample.groups[has], 0.9)
    other, others = drawn((2000, 2000, 2000), seed=1)
    scores = score_sets(sets, other, others)
    for covered, images, (low, high) in scores.by_class.values():
        assert covered / images == pytest.approx(0.9, abs=0.07)  # of one calibration sample of 60 groups
        assert low < covered / images < high


def test_a_promise_is_stated_to_the_digit():
    probabilities, sample = drawn((60, 60, 12))
    (sets,), (note,) = sets_of(probabilities, sample, 0.975)
    assert sets.describe() == "97.5% coverage on average over the classes" and ": 97.5% coverage is promised" in note
    _, (refusal,) = sets_of(probabilities, sample, 0.999)
    assert "99.9% coverage needs 999 groups, but there are 132" in refusal
    labels = LabelSets(0.925, (0.5, 0.5), True, IMAGE, (0.5, 0.5))
    assert labels.describe().startswith("92.5% coverage of 2 of 2 labels")


def test_with_few_groups_of_a_class_the_promise_is_on_average_and_says_so():
    probabilities, sample = drawn((60, 60, 12))
    (sets,), (note,) = sets_of(probabilities, sample)
    assert not sets.by_class and len(set(sets.thresholds)) == 1
    assert note.endswith("because that needs 30 groups of each class and the rarest has 12")
    (asked,), _ = sets_of(probabilities, sample, 0.9)
    assert asked.by_class  # 9 groups suffice for a promise that the user asked for


def test_too_few_groups_give_no_sets_and_the_number_that_is_needed():
    probabilities, sample = drawn((7, 7, 7))
    assert sets_of(probabilities, sample) == (
        [],
        ["no prediction sets by image: 90% coverage needs 30 groups, but there are 21"],
    )
    assert sets_of(probabilities, sample, 0.99)[1] == [
        "no prediction sets by image: 99% coverage needs 99 groups, but there are 21"
    ]


def test_patients_get_sets_of_their_combined_predictions():
    probabilities, sample = drawn()
    patients = PatientSample(sample.labels, sample.groups, NAMES, "patient_auroc", patients=sample.groups)
    (image, patient), _ = calibrate_sets(probabilities, patients, PatientRule("geometric-mean"), None)
    assert (image.unit, patient.unit) == (IMAGE, PATIENT)
    combined = PatientRule("geometric-mean").apply(probabilities.astype(np.float32), sample.groups)
    first = lowest_probability(combined[:60, 0], np.arange(60), 0.9)
    assert patient.thresholds[0] == first


def test_sets_are_counted_by_size_and_by_class():
    sets = PredictionSets(0.8, (0.5, 0.3, 0.3), True)
    probabilities = np.array([[0.6, 0.3, 0.1], [0.45, 0.29, 0.26], [0.2, 0.4, 0.4], [0.1, 0.8, 0.1]])
    sample = Sample(np.array([0, 0, 1, 2]), np.arange(4), NAMES, "auroc")
    scores = score_sets(sets, probabilities, sample)
    assert scores.sizes == (1, 1, 2, 0)  # empty: the second; one class: the last
    assert scores.covered == 2 and scores.right_if_single == 0 and scores.interval is None
    assert {name: found[:2] for name, found in scores.by_class.items()} == {"a": (1, 2), "b": (1, 1), "c": (0, 1)}
    assert scores.metrics() == {
        "set_coverage": 0.5,
        "abstention": 0.75,
        "accuracy_if_certain": 0.0,
        "risk_coverage_area": pytest.approx(np.mean([1, 1 / 2, 1 / 3, 1 / 4])),
    }


def test_a_set_of_one_class_is_right_if_that_is_the_true_class():
    """With thresholds by class, it need not be the most likely one, and it is what a person reads."""
    sets, ill = PredictionSets(0.9, (0.7, 0.2), True), np.array([[0.65, 0.35]], np.float32)
    assert sets.attributes(ill[0], NAMES[:2]) == {"prediction_set": "b", "abstain": False}
    right, wrong = (
        score_sets(sets, ill, Sample(np.array([label]), np.arange(1), NAMES[:2], "auroc")) for label in (1, 0)
    )
    assert right.metrics()["accuracy_if_certain"] == right.metrics()["set_coverage"] == 1
    assert wrong.metrics()["accuracy_if_certain"] == wrong.metrics()["set_coverage"] == 0


def test_the_risk_of_accepting_the_most_confident_is_their_error_rate():
    generator = np.random.default_rng(0)
    confidence, right = np.round(generator.random(50), 1), generator.random(50) < 0.7
    risks = risk_coverage(confidence, right)
    falling = np.sort(confidence)[::-1]
    for position, threshold in enumerate(falling):
        assert risks[position] == pytest.approx(np.mean(~right[confidence >= threshold]))
    assert risk_coverage(np.array([0.9, 0.8, 0.1]), np.array([True, True, False])).tolist() == [0, 0, 1 / 3]


def test_test_scores_hold_those_of_the_sets():
    probabilities, sample = drawn()
    members = np.stack([probabilities, probabilities])
    comparison = ClassificationResults.compare(members, sample, "mean")
    assert comparison.combination.sets
    evaluation = ClassificationResults.evaluate(members, comparison.combination, sample, 0)
    sets = evaluation.ensemble.sets
    assert evaluation.metrics()["set_coverage"] == sets.covered / sets.units
    assert evaluation.ensemble.intervals["set_coverage"] == sets.interval
    assert from_json(json.loads(json.dumps(to_json(evaluation.ensemble))), Scores) == evaluation.ensemble
    assert from_json(json.loads(json.dumps(to_json(comparison))), type(comparison)) == comparison
    older = {name: value for name, value in to_json(evaluation.ensemble).items() if name not in ("sets", "points")}
    assert from_json(older, Scores) == replace(evaluation.ensemble, sets=None)


def test_a_coverage_below_the_promise_is_said():
    probabilities, sample = drawn()
    members = probabilities[None]
    combination = ClassificationResults.compare(members, sample, "mean").combination
    alike = ClassificationResults.evaluate(members, combination, sample, 0)
    assert alike.caveats() == []
    shifted = replace(sample, labels=np.roll(sample.labels, 90))
    (note,) = ClassificationResults.evaluate(members, combination, shifted, 0).caveats()
    assert note.startswith("prediction sets by image cover 0.") and "of the test images instead of 0.9:" in note


@pytest.mark.parametrize("coverage", [0.4, 1.0, -1])
def test_a_coverage_that_cannot_be_promised_is_refused(coverage):
    with pytest.raises(UserError, match=r"--coverage must be between 0.5 and 0.99, but got"):
        DecisionRules(coverage=coverage)


def test_tasks_refuse_what_they_cannot_decide():
    MultiLabelResults.check_decisions(DecisionRules(coverage=0.9), None)
    with pytest.raises(UserError, match="--operating-point and --coverage are not available for a segmentation"):
        SegmentationResults.check_decisions(DecisionRules(coverage=0.9), None)
    for kind in (MultiLabelResults, SegmentationResults, ClassificationResults):
        kind.check_decisions(DecisionRules(), None)
