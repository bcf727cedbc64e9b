import dataclasses

import numpy as np
import pytest

from analysis.ensembles import choose_rule
from analysis.ensembles.choose_rule import Compared
from analysis.ensembles.compare_rules import compare, held_out
from analysis.ensembles.rules import DEFAULT, FIXED, RULES, best_single, greedy
from analysis.statistics.cross_fitting import cross_fitted, group_folds
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Sample
from tests.analysis.samples import NAMES, drawn, lesion_slices
from trainables.core.errors import DataError
from trainables.core.serving.combining.patient_rule import PatientRule


def test_equal_members_leave_the_default():
    probabilities, sample = drawn(count=1)
    comparison = compare(np.repeat(probabilities, 3, axis=0), sample)
    assert comparison.chosen == comparison.reference == DEFAULT
    assert [compared.rule for compared in comparison.rules] == list(RULES)


@pytest.mark.parametrize("groups", [40, 6])
def test_held_out_predictions_are_those_that_the_comparison_scored(groups):
    probabilities, sample = drawn(groups=groups, metric="log_loss")
    for compared in compare(probabilities, sample).rules:
        assert sample.score(held_out(probabilities, sample, compared.rule)) == compared.score


def test_an_ensemble_that_is_clearly_better_is_chosen():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    odds = np.exp(generator.normal(size=(8, 300, 3)) + 1.2 * np.eye(3)[labels])
    probabilities = odds / odds.sum(axis=2, keepdims=True)
    comparison = compare(probabilities, Sample(labels, np.arange(300), NAMES, "balanced_accuracy"))
    single = comparison.rules[0]
    assert single.behind > single.error
    assert comparison.chosen != "best-single"
    assert len(comparison.combination.voters()) == 8
    assert comparison.score > single.score


def biased(groups, metric="balanced_accuracy"):
    """Return good members that all confuse two classes in the same way, which only stacking undoes."""
    generator = np.random.default_rng(4)
    labels = np.arange(groups) % 3
    odds = np.exp(generator.normal(size=(3, groups, 3)) + 3 * np.eye(3)[(labels + 1) % 3])
    return odds / odds.sum(axis=2, keepdims=True), Sample(labels, np.arange(groups), NAMES, metric)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss"])
def test_a_rule_that_beats_the_default_by_more_than_a_standard_error_replaces_it(metric):
    comparison = compare(*biased(90, metric))
    stacking = next(compared for compared in comparison.rules if compared.rule == "stacking")
    assert stacking.behind < -stacking.error
    assert comparison.chosen == "stacking"


def test_a_class_in_fewer_than_ten_groups_leaves_the_default():
    probabilities, sample = biased(90)
    few = np.flatnonzero((sample.labels > 0) | (np.arange(90) < 27))  # nine groups of class 0
    comparison = compare(probabilities[:, few], sample.take(few))
    stacking = next(compared for compared in comparison.rules if compared.rule == "stacking")
    assert stacking.behind < -stacking.error
    assert comparison.chosen == DEFAULT
    assert comparison.notes == (
        f"stacking scored better than {DEFAULT}, but replaces it only if 10 groups have images of each kind, and 9 "
        "have images of a",
    )
    assert compare(probabilities[:, few], sample.take(few), forced=DEFAULT).notes == ()


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "auroc", "log_loss"])
def test_a_member_at_chance_has_next_to_no_weight_in_the_default(metric):
    generator = np.random.default_rng(1)
    labels = generator.choice(3, 300, p=[0.6, 0.3, 0.1])
    skills = np.array([1.5, 1.5, 1.5, 0])[:, None, None]
    odds = np.exp(generator.normal(size=(4, 300, 3)) + skills * np.eye(3)[labels])
    sample = Sample(labels, np.arange(300), NAMES, metric)
    weights = RULES[DEFAULT](odds / odds.sum(axis=2, keepdims=True), sample).weights
    assert weights[3] < 0.03
    assert min(weights[:3]) > 0.2


@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss"])
def test_the_choice_follows_from_the_scores_and_is_fitted_to_everything(metric):
    probabilities, sample = drawn(images=200, skill=2, seed=1, metric=metric, groups=60)
    comparison = compare(probabilities, sample)
    scores = np.array([compared.score for compared in comparison.rules])
    sign = -1 if metric == "log_loss" else 1
    default = scores[list(RULES).index(DEFAULT)]
    for compared in comparison.rules:
        assert compared.behind == pytest.approx(sign * (default - compared.score))
        assert comparison.difference(compared) == pytest.approx(compared.score - default)
    best = comparison.rules[int(np.argmax(sign * scores))]
    assert comparison.chosen == (best.rule if best.behind < -best.error else DEFAULT)
    assert comparison.combination == RULES[comparison.chosen](probabilities, sample)


def test_the_standard_error_against_an_independent_bootstrap():
    probabilities, sample = drawn(count=3, images=120, skill=2, groups=40, metric="accuracy")
    comparison = {compared.rule: compared for compared in compare(probabilities, sample).rules}
    best, other = comparison[DEFAULT], comparison["majority-vote"]
    folds = group_folds(sample)
    hits = [
        cross_fitted(RULES[compared.rule], probabilities, sample, folds).argmax(1) == sample.labels
        for compared in (best, other)
    ]
    gain = np.array([hits[0][group].sum() - hits[1][group].sum() for group in sample.members])
    sizes = np.array([len(group) for group in sample.members])
    generator = np.random.default_rng(9)
    strata = [np.flatnonzero(sample.group_classes == label) for label in range(3)]
    drawn_gains = []
    for _ in range(4000):
        picked = np.concatenate([generator.choice(stratum, len(stratum)) for stratum in strata])
        drawn_gains.append(gain[picked].sum() / sizes[picked].sum())
    assert other.error == pytest.approx(np.std(drawn_gains), rel=0.15)


@pytest.mark.slow
def test_pure_noise_shows_no_optimism(monkeypatch):
    """Nine noisy members, three classes: the chance level is a third, whatever is picked, weighted or fitted."""
    monkeypatch.setattr(choose_rule, "_RESAMPLES", 100)
    by_rule, corrected, naive_single, naive_greedy = [], [], [], []
    for seed in range(8):
        probabilities, sample = drawn(count=9, images=200, seed=seed, skill=0, groups=120)
        comparison = compare(probabilities, sample)
        by_rule.append([compared.score for compared in comparison.rules])
        corrected.append(comparison.corrected)
        naive_single.append(sample.score(best_single(probabilities, sample).apply(probabilities)))
        naive_greedy.append(sample.score(greedy(probabilities, sample).apply(probabilities)))
    chance, error = 1 / 3, 0.045 / np.sqrt(8)  # of one score, of a mean of eight
    assert np.mean(naive_single) > chance + 3 * error  # what is being guarded against
    assert np.mean(naive_greedy) > chance + 7 * error
    for rule, scores in zip(RULES, np.transpose(by_rule), strict=True):
        assert np.mean(scores) == pytest.approx(chance, abs=2.5 * error), rule
    assert np.mean(corrected) == pytest.approx(chance, abs=2.5 * error)


def test_slices_with_few_lesions_are_cross_fitted():
    labels, patients = lesion_slices(40)
    generator = np.random.default_rng(1)
    seen, noise = np.clip(0.3 + 0.3 * labels + generator.normal(0, 0.12, labels.size), 0.01, 0.99), generator.random
    probabilities = np.stack([np.stack([1 - score, score], axis=1) for score in (seen, noise(labels.size))])
    comparison = compare(probabilities, Sample(labels, patients, ("healthy", "lesion"), "auroc", "healthy"))
    assert {compared.rule for compared in comparison.rules} == set(RULES)
    assert comparison.score > 0.95 and not comparison.notes


def test_a_metric_by_patient_needs_groups_of_healthy_patients():
    """All 43 patients have healthy slices, but only three have no lesion."""
    labels, patients = lesion_slices(40, patients=43, slices=5, lesions=3)
    generator = np.random.default_rng(1)
    first = np.clip(0.3 + 0.3 * labels + generator.normal(0, 0.2, labels.size), 0.01, 0.99)
    second = np.where(patients >= 40, first / 2, first)
    rules = {name: np.stack([1 - score, score], axis=1) for name, score in (("mean", first), ("other", second))}
    sample = PatientSample(labels, patients, ("healthy", "lesion"), "patient_auroc", "healthy", patients=patients)
    choice = choose_rule.choose(rules, sample, default="mean")
    assert choice.rules[1].behind < -choice.rules[1].error and choice.chosen == "mean"
    assert choice.notes == (
        "other scored better than mean, but replaces it only if 10 groups have images of each kind, and 3 have images "
        "of healthy",
    )


def test_the_note_says_that_a_second_class_is_missing():
    labels = np.repeat([0, 1], [23, 1])
    comparison = compare(np.full((2, 24, 2), 0.5), Sample(labels, np.arange(24) // 2, ("a", "b"), "accuracy"))
    assert "two classes outside each of 5 folds, but outside one of them, the 12 have one class" in comparison.notes[0]


def test_two_rare_classes_in_one_fold_leave_the_rules_without_parameters():
    """Nine patients of 10 images, and one of 4 of each rare class. All rules would be fitted to a single class."""
    labels = np.repeat([0, 1, 2], [90, 4, 4])
    patients = np.repeat(np.arange(11), [10] * 9 + [4, 4])
    sample = Sample(labels, patients, ("normal", "a", "b"), "balanced_accuracy")
    comparison = compare(np.full((2, 98, 3), 1 / 3), sample)
    assert tuple(compared.rule for compared in comparison.rules) == FIXED
    assert "outside one of them, the 11 have one class" in comparison.notes[0]


def test_too_few_groups_leave_the_rules_without_parameters_and_a_note():
    probabilities, sample = drawn(groups=8)
    comparison = compare(probabilities, sample)
    assert tuple(compared.rule for compared in comparison.rules) == FIXED
    assert comparison.chosen == "mean"
    assert "there are 8: only rules without parameters were compared" in comparison.notes[0]
    with pytest.raises(DataError, match="must be one of mean, .* but got 'greedy'; rules with parameters need 10"):
        compare(probabilities, sample, forced="greedy")


def test_a_class_in_one_group_is_noted():
    probabilities, sample = drawn()
    groups = np.where(sample.labels == 2, 0, sample.groups + 1)
    comparison = compare(probabilities, Sample(sample.labels, groups, NAMES, "balanced_accuracy"))
    assert len(comparison.rules) == len(RULES)
    assert comparison.corrected is None  # no resample leaves the class's only group out
    assert (
        comparison.notes[0] == "only one group has images of c: rules were scored on it without having seen such images"
    )


def test_a_forced_rule_is_taken_and_all_are_compared():
    probabilities, sample = drawn()
    comparison = compare(probabilities, sample, forced="greedy-scaled")
    assert comparison.chosen == "greedy-scaled"
    assert len(comparison.rules) == len(RULES)
    assert comparison.combination == RULES["greedy-scaled"](probabilities, sample)


def test_the_same_predictions_give_the_same_comparison():
    probabilities, sample = drawn()
    assert compare(probabilities, sample) == compare(probabilities, sample)


def patients(lesions, metric="balanced_accuracy", count=60):
    """Return two equal members on patients of five images; some images of the ill, or all, show a lesion."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(count), 5)
    shown = (groups % 2 == 1) & (np.arange(5 * count) % 5 < lesions)
    of_ill = 1 / (1 + np.exp(3 - 6 * shown - 1.5 * generator.normal(size=5 * count)))
    probabilities = np.stack([np.stack([1 - of_ill, of_ill], axis=1)] * 2)
    return probabilities, PatientSample(shown.astype(int), groups, ("no", "yes"), metric, "no", patients=groups)


def test_the_mean_combines_a_patients_images_unless_another_rule_is_clearly_better():
    everywhere, once = compare(*patients(lesions=5)), compare(*patients(lesions=1))
    assert everywhere.combination.patients == PatientRule("mean", 0)
    assert once.combination.patients == PatientRule("any-lesion", 0)
    better = next(rule for rule in once.patients.rules if rule.rule == "any-lesion")
    assert better.behind < -better.error
    assert once.patients.chosen == "any-lesion"
    probabilities, sample = patients(lesions=5)
    assert compare(probabilities, sample.by_image).patients is None


def test_the_reason_why_a_better_patient_rule_is_not_chosen_is_said():
    few = compare(*patients(lesions=1, count=12))
    better = next(rule for rule in few.patients.rules if rule.rule == "any-lesion")
    assert better.behind < -better.error and few.patients.chosen == "mean"
    (note,) = (note for note in few.notes if "any-lesion" in note)
    assert note.startswith(
        "to combine the images of a patient, any-lesion scored better than mean, but replaces it only"
    )
    assert note.endswith("and 6 have images of no")
    rules = (Compared("mean", 0.8, 0.0, 0.0), Compared("max", 0.81, -0.01, 0.02), Compared("worse", 0.7, 0.1, 0.2))
    close = dataclasses.replace(few.patients, rules=rules)
    said = "mean, balanced_accuracy 0.8000 (max 0.8100, better by less than a standard error of 0.0200; worse 0.7000)"
    assert close.describe() == said


def test_figures_are_those_of_the_chosen_patient_rule():
    probabilities, sample = patients(lesions=1)
    once = compare(probabilities, sample)
    predicted = held_out(probabilities, sample, once.chosen)
    chosen = dataclasses.replace(sample, rule=PatientRule("any-lesion", 0))
    assert once.figures["patient_auroc"] == chosen.scores(predicted)["patient_auroc"]
    assert once.score == once.figures["balanced_accuracy"] == sample.by_image.score(predicted)
    steered = compare(*patients(1, "patient_balanced_accuracy"))
    assert steered.score == steered.figures["patient_balanced_accuracy"] == steered.patients.score
    assert steered.corrected == steered.patients.corrected


def test_a_metric_of_patients_chooses_another_member_than_one_of_images():
    """One member is right on most images, the other on some images of every patient, and so on every patient."""
    labels, groups = np.repeat(np.arange(60) % 2, 5), np.repeat(np.arange(60), 5)
    wrong_on_whole_patients = np.where(groups % 5 == 0, 1 - labels, labels)
    wrong_on_two_images = np.where(np.arange(300) % 5 < 2, 1 - labels, labels)
    probabilities = np.stack([np.eye(2)[wrong_on_whole_patients], np.eye(2)[wrong_on_two_images]]) * 0.8 + 0.1
    sample = PatientSample(labels, groups, ("a", "b"), "accuracy", patients=groups)
    assert best_single(probabilities, sample).voters() == [0]
    assert best_single(probabilities, dataclasses.replace(sample, metric="patient_accuracy")).voters() == [1]
