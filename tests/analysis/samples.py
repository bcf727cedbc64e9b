"""Made-up predictions of made-up images."""

import numpy as np

from analysis.statistics.resampling import Sample

NAMES = ("a", "b", "c")


def drawn(count=5, images=90, seed=0, skill=1.0, metric="balanced_accuracy", groups=None):
    """Probabilities (count, images, 3) of members of random skill, and the sample; 0 skill is pure noise."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, images, p=[0.6, 0.3, 0.1])
    labels[:6] = [0, 0, 1, 1, 2, 2]
    bias = skill * generator.random(count)[:, None, None] * np.eye(3)[labels]
    odds = np.exp(generator.normal(size=(count, images, 3)) + bias)
    grouped = np.arange(images) if groups is None else generator.integers(0, groups, images)
    return odds / odds.sum(axis=2, keepdims=True), Sample(labels, grouped, NAMES, metric)


def lesion_slices(with_lesion, patients=60, slices=20, lesions=4):
    """Classes and patients of slices: the first patients have a few slices with a lesion, all others are healthy."""
    labels = np.zeros((patients, slices), dtype=np.int64)
    labels[:with_lesion, :lesions] = 1
    return labels.ravel(), np.repeat(np.arange(patients), slices)
