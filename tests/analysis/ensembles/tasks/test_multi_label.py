import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)

from analysis.ensembles.choose_rule import choose
from analysis.ensembles.compare_rules import Comparison
from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.label_rules import best_thresholds
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.label_samples import LabelPatientSample, LabelSample
from analysis.ensembles.tasks.multi_label import MultiLabelResults
from analysis.statistics.cross_fitting import group_folds
from tests.analysis.ensembles.test_label_rules import NAMES, drawn
from trainables.core.serving.combining.patient_rule import PatientRule


@pytest.fixture(scope="module")
def chosen():
    probabilities, sample = drawn(seed=1)
    return MultiLabelResults.compare(probabilities, sample)


@pytest.fixture(scope="module")
def evaluation(chosen):
    probabilities, sample = drawn(seed=2)
    return MultiLabelResults.evaluate(probabilities, chosen.combination, sample, 1)


def test_test_scores_are_scikit_learns_at_the_thresholds_of_select(chosen, evaluation):
    probabilities, sample = drawn(seed=2)
    combined, truth = chosen.combination.apply(probabilities), sample.labels
    scores = evaluation.ensemble
    assert scores.metrics["auroc"] == pytest.approx(roc_auc_score(truth, combined))
    assert scores.metrics["average_precision"] == pytest.approx(average_precision_score(truth, combined))
    assert scores.metrics["macro_f1"] == pytest.approx(
        f1_score(truth, combined >= chosen.combination.thresholds, average="macro")
    )
    briers = [brier_score_loss(truth[:, label], combined[:, label]) for label in range(3)]
    assert scores.metrics["brier"] == pytest.approx(np.mean(briers))
    assert scores.metrics["auroc/mass"] == pytest.approx(roc_auc_score(truth[:, 1], combined[:, 1]))
    for low, high in [scores.intervals[name] for name in ("auroc", "macro_f1", "brier", "auroc/mass")]:
        assert low < high
    for position, member in enumerate(evaluation.members):
        decided = probabilities[position] >= chosen.combination.member_thresholds[position]
        assert member.metrics["macro_f1"] == pytest.approx(f1_score(truth, decided, average="macro"))
    assert evaluation.p_value is not None and 0 < evaluation.p_value <= 1


def test_intervals_resample_whole_groups():
    """With all images of a group equal, ten times as many images give the same interval."""
    probabilities, sample = drawn(images=60, skills=(1.0,), groups=10_000)
    combination = MultiLabelResults.compare(probabilities, sample, "mean").combination
    many = dataclasses.replace(sample, labels=np.repeat(sample.labels, 10, axis=0), groups=np.repeat(sample.groups, 10))
    few, repeated = (
        MultiLabelResults.evaluate(shown, combination, images, 0).ensemble.intervals
        for shown, images in ((probabilities, sample), (np.repeat(probabilities, 10, axis=1), many))
    )
    assert repeated["auroc"] == pytest.approx(few["auroc"], abs=1e-6)
    assert repeated["auroc/mass"] == pytest.approx(few["auroc/mass"], abs=1e-6)


def test_a_label_of_few_groups_has_no_interval_and_an_absent_one_no_score():
    probabilities, sample = drawn(seed=3)
    labels = sample.labels.copy()
    labels[:, 2], labels[20:, 1] = 0, 0
    sample = dataclasses.replace(sample, labels=labels)
    combination = MultiLabelResults.compare(probabilities, sample, "mean").combination
    result = MultiLabelResults.evaluate(probabilities, combination, sample, 0)
    assert result.absent == ("nodule",) and result.conditional == ("mass",)
    assert "auroc/mass" in result.ensemble.metrics and "auroc/mass" not in result.ensemble.intervals
    assert [name for name in result.ensemble.metrics if name.endswith("/nodule")] == ["specificity/nodule"]
    assert "auroc/effusion" in result.ensemble.intervals


def test_a_label_that_few_or_no_groups_lack_is_named_so():
    probabilities, sample = drawn(images=240, groups=80, seed=3)
    labels = sample.labels.copy()
    one, few = sample.groups == sample.groups[0], np.isin(sample.groups, np.unique(sample.groups)[:5])
    labels[:, 0], labels[:, 1] = ~one, ~few
    sample = dataclasses.replace(sample, labels=labels)
    comparison = MultiLabelResults.compare(probabilities, sample)
    effusion, mass, _ = sample.class_names
    assert comparison.notes[0].startswith(f"only one group has images without {effusion}: ")
    labels[:, 0] = 1
    result = MultiLabelResults.evaluate_combined(
        MultiLabelResults.combined(probabilities, comparison.combination), comparison.combination, sample
    )
    assert (result.absent, result.conditional, result.negatives) == ((effusion,), (mass,), (mass, effusion))
    assert result.caveats() == [
        f"no test image without {effusion}",
        f"averages and their intervals (*) are conditional on the few test groups without {mass} (fewer than 10): "
        "other patients may give other values",
    ]


def test_a_rule_is_replaced_only_if_enough_groups_lack_each_label():
    generator = np.random.default_rng(0)
    labels = np.stack([generator.permutation(np.arange(200) >= 3), np.arange(200) % 2], axis=1).astype(np.int64)
    sample = LabelSample(labels, np.arange(200), ("mass", "nodule"), "auroc")
    good = np.clip(labels * 0.4 + 0.6 * generator.random((200, 2)), 0, 1)
    choice = choose({"mean": generator.random((200, 2)), "other": good}, sample, default="mean")
    assert choice.notes == (
        "other scored better than mean, but replaces it only if 10 groups have images of each kind, and 3 have images "
        "without mass",
    )


def test_members_disagree_where_their_sets_of_labels_differ():
    probabilities, sample = drawn()
    result = MultiLabelResults.diversity(probabilities, sample)
    decided = probabilities >= 0.5
    assert result.disagreement[0][1] == pytest.approx((decided[0] != decided[1]).any(axis=1).mean())
    wrong = (decided != sample.labels).any(axis=2)
    assert result.error_correlation[0][2] == pytest.approx(np.corrcoef(wrong[0], wrong[2])[0, 1])


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_member_is_scored_at_thresholds_that_were_chosen_on_other_groups(metric):
    probabilities, sample = drawn(metric=metric, seed=4)
    folds, truth = group_folds(sample), sample.labels
    decided = np.zeros((3, *truth.shape), dtype=bool)
    for position, member in enumerate(probabilities):
        for fold in np.unique(folds):
            thresholds = best_thresholds(member[folds != fold], truth[folds != fold])
            decided[position, folds == fold] = member[folds == fold] >= thresholds
        scored = sample.score(MultiLabelResults.single(member, sample))
        of_metric = {
            "macro_f1": f1_score(truth, decided[position], average="macro"),
            "auroc": roc_auc_score(truth, member),
        }
        assert scored == pytest.approx(of_metric[metric])
    singles = np.stack([MultiLabelResults.single(member, sample) for member in probabilities])
    result = MultiLabelResults.diversity(singles, sample)
    assert result.disagreement[0][1] == pytest.approx((decided[0] != decided[1]).any(axis=1).mean())


def test_with_few_groups_members_decide_at_a_half():
    (member, *_), sample = drawn(groups=6)
    np.testing.assert_array_equal(MultiLabelResults.single(member, sample), member)


def test_results_come_back_from_json(chosen, evaluation):
    for value, kind in ((chosen, Comparison), (evaluation, Evaluation)):
        assert from_json(json.loads(json.dumps(to_json(value))), kind) == value


def test_tables_and_files_show_every_label(labelled_data, evaluation, chosen):
    named = dataclasses.replace(evaluation, ensemble=_renamed(evaluation.ensemble, labelled_data.class_names))
    table, at_thresholds, of_sets = MultiLabelResults(labelled_data).class_tables(named)
    test = labelled_data.splits["test"]
    assert [row[0] for row in table.rows] == list(labelled_data.class_names)
    assert [int(row[1]) for row in table.rows] == labelled_data.labels[test].sum(axis=0).tolist()
    assert len({len(row) for row in (*table.rows, table.headings)}) == 1
    assert table.rows[1][-1] == f"{chosen.combination.thresholds[1]:.3f}"
    of_mass = evaluation.ensemble.points[1]
    assert of_mass.point.threshold == chosen.combination.thresholds[1]
    assert at_thresholds.rows[1][1] == of_mass.describe("sensitivity")
    assert of_mass.metrics()["sensitivity"] == evaluation.ensemble.metrics["recall/mass"]
    assert of_mass.metrics()["ppv"] == evaluation.ensemble.metrics["precision/mass"]
    sets = evaluation.ensemble.label_sets
    assert [row[0] for row in of_sets.rows] == list(sets.present) == list(sets.right)
    covered, images, (low, high) = sets.present["mass"]
    assert of_sets.rows[1][1] == f"{covered / images:.3f} [{low:.3f}, {high:.3f}]: {covered} of {images}"


def _renamed(scores, names):
    new = dict(zip(NAMES, names, strict=True))

    def rename(figures):
        return {
            f"{name.split('/')[0]}/{new[name.split('/')[1]]}" if "/" in name else name: v for name, v in figures.items()
        }

    return dataclasses.replace(scores, metrics=rename(scores.metrics), intervals=rename(scores.intervals))


def by_hand(probabilities, labels, patients, rule):
    """Labels of any image, and the mean or the highest probabilities, of each patient."""
    grouped = pd.DataFrame(labels).groupby(patients).max().to_numpy()
    return getattr(pd.DataFrame(probabilities).groupby(patients), rule)().to_numpy(), grouped


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["mean", "max"])
def test_patients_are_scored_as_scikit_learn_scores_their_labels_and_probabilities(rule):
    probabilities, plain = drawn(seed=1)
    sample = LabelPatientSample(plain.labels, plain.groups, NAMES, "auroc", patients=plain.groups)
    chosen = MultiLabelResults.compare(probabilities, sample, "mean").combination
    chosen = dataclasses.replace(chosen, patients=PatientRule(rule))
    result = MultiLabelResults.evaluate(probabilities, chosen, sample, 1)
    combined, truth = by_hand(chosen.apply(probabilities), plain.labels, plain.groups, rule)
    scores = result.patients.ensemble
    assert (result.units, result.patients.units) == (240, 120)
    assert scores.metrics["auroc"] == pytest.approx(roc_auc_score(truth, combined))
    decided = combined >= chosen.patient_thresholds
    assert scores.metrics["macro_f1"] == pytest.approx(f1_score(truth, decided, average="macro"))
    assert [point.point.unit for point in scores.points] == ["patient"] * 3
    assert scores.metrics["sensitivity/mass"] == pytest.approx(recall_score(truth[:, 1], decided[:, 1]))
    assert result.metrics()["patient_auroc"] == scores.metrics["auroc"]
    low, high = scores.intervals["auroc"]
    assert low < scores.metrics["auroc"] < high
    of_member, _ = by_hand(probabilities[0], plain.labels, plain.groups, rule)
    assert result.patients.members[0].metrics["macro_f1"] == pytest.approx(
        f1_score(truth, of_member >= chosen.patient_member_thresholds[0], average="macro")
    )
    images = MultiLabelResults.evaluate(probabilities, chosen, plain, 1)
    assert dataclasses.replace(result, patients=None) == images


def test_models_without_thresholds_for_patients_assign_the_labels_of_any_image():
    probabilities, plain = drawn(seed=2)
    sample = LabelPatientSample(plain.labels, plain.groups, NAMES, "auroc", patients=plain.groups)
    older = MultiLabelResults.compare(probabilities, plain, "mean").combination
    assert older.patient_thresholds == ()
    scores = MultiLabelResults.evaluate(probabilities, older, sample, 0).patients.ensemble
    decided, truth = by_hand(older.decide(older.apply(probabilities)), plain.labels, plain.groups, "max")
    assert scores.metrics["macro_f1"] == pytest.approx(f1_score(truth, decided, average="macro"))
    assert scores.points == () and scores.thresholds == ()


def test_the_rule_for_patients_is_chosen_with_thresholds_from_other_groups():
    """One image of each patient shows the label, so the highest probability is clearly the better rule."""
    generator = np.random.default_rng(0)
    ill = generator.random((200, 3)) < 0.4
    labels = np.zeros((200, 4, 3), dtype=np.int64)
    labels[:, 0] = ill
    noise = generator.normal(size=(1, 800, 3))
    shown = 1 / (1 + np.exp(2 - 5 * labels.reshape(1, 800, 3) - noise))
    patients = np.arange(800) // 4
    sample = LabelPatientSample(labels.reshape(800, 3), patients, NAMES, "macro_f1", patients=patients)
    comparison = MultiLabelResults.compare(shown, sample, "mean")
    assert comparison.patients.chosen == comparison.combination.patients.kind == "max"
    combined, truth = by_hand(shown[0], labels.reshape(800, 3), patients, "max")
    decided = combined >= comparison.combination.patient_thresholds
    fitted = f1_score(truth, decided, average="macro")
    assert fitted - 0.05 < comparison.figures["patient_macro_f1"] <= fitted  # not scored where it was fitted
    assert from_json(json.loads(json.dumps(to_json(comparison))), Comparison) == comparison


def test_a_single_label_is_scored_like_a_binary_classification():
    probabilities, sample = drawn()
    one = dataclasses.replace(sample, labels=sample.labels[:, :1], class_names=sample.class_names[:1])
    combination = MultiLabelResults.compare(probabilities[:, :, :1], one, "mean").combination
    scores = MultiLabelResults.evaluate(probabilities[:, :, :1], combination, one, 0).ensemble
    combined = combination.apply(probabilities[:, :, :1])[:, 0]
    truth, decided = one.labels[:, 0], combined >= combination.thresholds[0]
    assert scores.metrics["auroc"] == pytest.approx(roc_auc_score(truth, combined))
    assert scores.metrics["macro_f1"] == pytest.approx(f1_score(truth, decided))
    expected = precision_recall_fscore_support(truth, decided, labels=[1])
    row = next(line.split() for line in scores.report.splitlines() if line.split()[:1] == [NAMES[0]])
    assert list(map(float, row[1:])) == pytest.approx([column[0] for column in expected], abs=0.005)
