import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.evaluation import Scores
from analysis.ensembles.prediction_sets import calibrate_label_sets, score_label_sets
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.label_samples import LabelPatientSample, LabelSample
from analysis.ensembles.tasks.multi_label import MultiLabelResults
from analysis.statistics.conformal import lowest_probability
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.operating_point import IMAGE, PATIENT
from trainables.core.serving.prediction_sets import LabelSets

NAMES = ("mass", "effusion", "hernia")
PREVALENCES = (0.5, 0.3, 0.04)


def drawn(groups=200, per_group=3, seed=0, skill=1.5):
    """Probabilities (N, 3) and images in groups that have the same labels and whose images are alike."""
    generator = np.random.default_rng(seed)
    group_of = np.repeat(np.arange(groups), per_group)
    labels = (generator.random((groups, 3)) < PREVALENCES)[group_of].astype(np.int64)
    effect = generator.normal(size=(groups, 3))[group_of]
    logits = generator.normal(size=labels.shape) + effect + skill * (2 * labels - 1)
    return 1 / (1 + np.exp(-logits)), LabelSample(labels, group_of, NAMES, "auroc")


def sets_of(probabilities, sample, coverage=None, rule="mean"):
    return calibrate_label_sets(probabilities, sample, PatientRule(rule), coverage)


def test_presence_and_absence_of_a_label_have_thresholds_of_their_own():
    probabilities, sample = drawn()
    (sets,), _ = sets_of(probabilities, sample)
    assert (sets.coverage, sets.unit, sets.calibrated.tolist()) == (0.9, IMAGE, [0, 1])
    served = probabilities.astype(np.float32)
    for label in (0, 1):
        has = sample.labels[:, label] == 1
        assert sets.thresholds[label] == lowest_probability(served[has, label], sample.groups[has], 0.9)
        assert sets.absent_thresholds[label] == lowest_probability(1 - served[~has, label], sample.groups[~has], 0.9)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_new_groups_are_covered_as_promised_whether_a_label_is_present_or_absent(coverage):
    new, others = drawn(groups=4000, seed=99)
    reached = []
    for seed in range(20):
        (sets,), _ = sets_of(*drawn(seed=seed), coverage)
        scores = score_label_sets(sets, new, others)
        reached.append(
            [[side[name][0] / side[name][1] for name in NAMES[:2]] for side in (scores.present, scores.absent)]
        )
    assert np.mean(reached, axis=0) == pytest.approx(np.full((2, 2), coverage), abs=0.03)


def test_a_label_with_too_few_groups_stays_undecided_and_the_note_has_the_number_needed():
    probabilities, sample = drawn()
    (sets,), (note,) = sets_of(probabilities, sample)
    rare = len(np.unique(sample.groups[sample.labels[:, 2] == 1]))
    assert note == (
        f"no prediction sets by image for hernia ({rare}, {200 - rare}): 90% coverage of a label needs 30 groups with "
        "it and as many without it (in brackets: those there are)"
    )
    assert sets.undecided(probabilities)[:, 2].all() and sets.contain(probabilities)[:, 2].all()
    assert sets.describe() == "90% coverage of 2 of 3 labels, whether present or absent"
    few, few_sample = drawn(groups=20)
    assert sets_of(few, few_sample)[0] == []


def test_a_set_names_what_is_not_ruled_out_and_what_is_open():
    sets = LabelSets(0.9, (0.4, 0.6, 0.0), True, IMAGE, (0.5, 0.7, 0.0))
    rows = np.array([[0.9, 0.1, 0.5], [0.45, 0.5, 0.5]], dtype=np.float32)
    assert sets.attributes(rows[0], NAMES) == {"prediction_set": "mass|hernia", "undecided": "hernia"}
    # 0.45 may be present (0.4) and absent (1 - 0.45 reaches 0.5); 0.5 is neither (below 0.6, and 1 - 0.5 below 0.7)
    assert sets.attributes(rows[1], NAMES) == {"prediction_set": "mass|hernia", "undecided": "mass|effusion|hernia"}
    assert sets.of_labels([1]) == LabelSets(0.9, (0.6,), True, IMAGE, (0.7,))


def test_sets_are_counted_by_label_and_truth():
    sets = LabelSets(0.9, (0.4, 0.5, 0.0), True, IMAGE, (0.3, 0.5, 0.0))
    probabilities = np.array([[0.9, 0.9, 0.1], [0.5, 0.2, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]])
    scores = score_label_sets(sets, probabilities, LabelSample(labels, np.arange(4), NAMES, "auroc"))
    assert scores.present == {"mass": (2, 3, None), "effusion": (1, 1, None)}
    assert scores.absent == {"mass": (0, 1, None), "effusion": (2, 3, None)}
    assert scores.right == {"mass": (1, 3), "effusion": (3, 4)}  # the second image's mass is open
    assert scores.metrics() == {
        "set_coverage": 5 / 8,
        "abstention": pytest.approx(1 / 8),
        "accuracy_if_certain": pytest.approx(4 / 7),
    }


def test_patients_get_sets_of_their_combined_predictions():
    probabilities, sample = drawn()
    patients = LabelPatientSample(sample.labels, sample.groups, NAMES, "patient_auroc", patients=sample.groups)
    (image, patient), notes = sets_of(probabilities, patients, rule="max")
    assert (image.unit, patient.unit) == (IMAGE, PATIENT) and len(notes) == 2
    combined = PatientRule("max").apply(probabilities.astype(np.float32), sample.groups)
    has = sample.labels[::3, 0] == 1
    assert patient.thresholds[0] == lowest_probability(combined[has, 0], np.flatnonzero(has), 0.9)


def compared():
    probabilities, sample = drawn()
    members = np.stack([probabilities, probabilities])
    return members, sample, MultiLabelResults.compare(members, sample, "mean", DecisionRules())


def test_test_scores_hold_those_of_the_sets():
    members, sample, comparison = compared()
    evaluation = MultiLabelResults.evaluate(members, comparison.combination, sample, 0)
    sets = evaluation.ensemble.label_sets
    assert evaluation.metrics()["set_coverage"] == sets.metrics()["set_coverage"] and evaluation.caveats()[:-1] == []
    assert from_json(json.loads(json.dumps(to_json(evaluation.ensemble))), Scores) == evaluation.ensemble
    assert from_json(json.loads(json.dumps(to_json(comparison))), type(comparison)) == comparison
    one_label = comparison.combination.of_combined(np.array([1]))
    assert [one.thresholds for one in one_label.sets] == [comparison.combination.sets[0].thresholds[1:2]]
    assert comparison.combination.of_combined(np.array([2])).sets == ()


def test_a_coverage_of_a_label_below_the_promise_is_said():
    members, sample, comparison = compared()
    swapped = replace(sample, labels=np.where(np.arange(3) == 0, 1 - sample.labels, sample.labels))
    notes = MultiLabelResults.evaluate(members, comparison.combination, swapped, 0).caveats()
    (note,) = [one for one in notes if one.startswith("prediction sets")]
    assert "of the test images with mass, 0." in note and "of the test images without mass instead of 0.9:" in note
    assert "effusion" not in note
