from dataclasses import replace

import numpy as np

from trainables.core.serving.training_features import TrainingFeatures
from tuning.evaluate.shift import compare_features


def of_patients(patients, images, generator):
    """Features of patients from one population, whose images are nearly alike."""
    of_each = np.repeat(generator.normal(size=(patients, 8)), images, axis=0)
    return (of_each + 0.1 * generator.normal(size=of_each.shape)).astype(np.float32)


def known(features, images):
    """Training features of patients with so many images each."""
    independent = np.arange(len(features)) % images == 0
    return TrainingFeatures.of([features], [features], np.arange(len(features)), independent)


def test_several_images_of_training_patients_do_not_tell_equal_hospitals_apart():
    generator, p_values, of_all = np.random.default_rng(0), [], []
    for _ in range(40):
        training, features = known(of_patients(30, 20, generator), 20), of_patients(200, 1, generator)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        found = compare_features(training, features)
        assert found.images == 30  # of 15 training patients and as many new ones
        p_values.append(found.p_value)
        everything = replace(training, independent=np.ones(600, dtype=bool))
        of_all.append(compare_features(everything, features).p_value)
    assert np.mean(np.array(p_values) < 0.05) < 0.15
    assert np.mean(np.array(of_all) < 0.05) > 0.3  # images of one patient in both halves


def test_a_model_that_does_not_know_independent_images_gets_no_p_value():
    generator = np.random.default_rng(1)
    training = replace(known(of_patients(60, 2, generator), 2), independent=None)
    found = compare_features(training, of_patients(60, 1, generator) + 3)
    assert found.p_value is None and found.accuracy > 0.9
    assert compare_features(training, of_patients(10, 1, generator)) is None
