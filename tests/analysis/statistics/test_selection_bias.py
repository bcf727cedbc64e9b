import numpy as np
import pytest

from analysis.statistics.resampling import Sample, corrected_score
from analysis.statistics.selection_bias import best_of_trials


def guesses(trials, images=120, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, images)
    odds = generator.random((trials, images, 2))
    return odds / odds.sum(axis=2, keepdims=True), Sample(labels, np.arange(images) // 2, ("a", "b"), "accuracy")


def test_the_best_of_many_guesses_is_corrected_to_a_guess():
    all_found = []
    for seed in range(8):
        predictions, sample = guesses(40, seed=seed)
        ordered = sorted(predictions, key=sample.score, reverse=True)
        found = best_of_trials(ordered, sample, 5)
        assert found.score == max(map(sample.score, predictions))
        assert found.together == sample.score(np.mean(ordered[:5], axis=0))
        all_found.append(found)
    assert np.mean([found.score for found in all_found]) > 0.58
    assert abs(np.mean([found.corrected for found in all_found]) - 0.5) < 0.04
    assert np.mean([found.together for found in all_found]) > 0.6
    assert abs(np.mean([found.together_corrected for found in all_found]) - 0.5) < 0.05
    assert found.corrected == pytest.approx(corrected_score(ordered, sample, count=400))
    best = f"the best has accuracy {found.score:.4f}, corrected for this choice {found.corrected:.4f} (BBC-CV)"
    mean = f"the mean of the best 5 has {found.together:.4f}, corrected {found.together_corrected:.4f}"
    assert found.describe("accuracy") == f"the search chose among 40 trials on these same images: {best}; {mean}"


def test_the_mean_of_the_best_is_corrected_as_bbc_cv_says():
    """Against a plain loop over the same resamples."""
    predictions, sample = guesses(6, images=60)
    ordered = sorted(predictions, key=sample.score, reverse=True)
    scores = []
    for drawn in sample.resampled_groups(400):
        inside = np.concatenate([sample.members[position] for position in drawn])
        outside = np.flatnonzero(~np.isin(sample.groups, sample.groups[inside]))
        if len(set(sample.labels[outside])) < 2:
            continue
        hits = [(each.argmax(axis=1) == sample.labels)[inside].mean() for each in ordered]
        best = sorted(range(6), key=lambda position: (-hits[position], position))[:2]
        mean = (ordered[best[0]] + ordered[best[1]]) / 2
        scores.append((mean.argmax(axis=1) == sample.labels)[outside].mean())
    assert best_of_trials(ordered, sample, 2).together_corrected == pytest.approx(np.mean(scores), abs=1e-9)


def test_a_lone_trial_is_not_corrected_by_much():
    predictions, sample = guesses(1)
    found = best_of_trials(predictions, sample, 5)
    assert (found.k, found.together, found.together_corrected) == (1, found.score, found.corrected)
    assert abs(found.score - found.corrected) < 0.02


def test_a_class_of_one_group_leaves_nothing_to_score_on():
    predictions, sample = guesses(3)
    lone = Sample(sample.labels * 0 + (sample.groups == 5), sample.groups, sample.class_names, "accuracy")
    found = best_of_trials(predictions, lone, 2)
    assert found.corrected is None
    assert "is unknown" in found.describe("accuracy")
