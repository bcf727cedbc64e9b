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
    biases = []
    for seed in range(8):
        predictions, sample = guesses(40, seed=seed)
        ordered = sorted(predictions, key=sample.score, reverse=True)
        bias = best_of_trials(ordered, sample, 5)
        assert bias.score == max(map(sample.score, predictions))
        assert bias.together == sample.score(np.mean(ordered[:5], axis=0))
        biases.append(bias)
    assert np.mean([bias.score for bias in biases]) > 0.58
    assert abs(np.mean([bias.corrected for bias in biases]) - 0.5) < 0.04
    assert np.mean([bias.together for bias in biases]) > 0.6
    assert abs(np.mean([bias.together_corrected for bias in biases]) - 0.5) < 0.05
    assert bias.corrected == pytest.approx(corrected_score(ordered, sample, count=400))
    best = f"the best has accuracy {bias.score:.4f}, corrected for this choice {bias.corrected:.4f} (BBC-CV)"
    mean = f"the mean of the best 5 has {bias.together:.4f}, corrected {bias.together_corrected:.4f}"
    assert bias.describe("accuracy") == f"the search chose among 40 trials on these same images: {best}; {mean}"


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


def test_a_single_trial_is_hardly_corrected():
    predictions, sample = guesses(1)
    bias = best_of_trials(predictions, sample, 5)
    assert (bias.k, bias.together, bias.together_corrected) == (1, bias.score, bias.corrected)
    assert abs(bias.score - bias.corrected) < 0.02


def test_a_class_with_one_group_has_no_corrected_score():
    predictions, sample = guesses(3)
    single_group = Sample(sample.labels * 0 + (sample.groups == 5), sample.groups, sample.class_names, "accuracy")
    bias = best_of_trials(predictions, single_group, 2)
    assert bias.corrected is None
    assert "is unknown" in bias.describe("accuracy")
