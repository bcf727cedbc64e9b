import math
from statistics import fmean

import numpy as np
import pytest

from trainables.core.serving.combining.combine import KINDS, Combination
from trainables.core.serving.combining.patient_rule import (
    LABEL_PATIENT_RULES,
    PATIENT_RULES,
    PatientRule,
    patient_rules,
)

PATIENTS = np.array([5, 2, 5, 5, 8, 2])
DRAWN = np.random.default_rng(0).dirichlet(np.ones(3), len(PATIENTS))


def by_hand(kind, images, healthy):
    """Each rule by its definition, for the images of one patient."""
    if kind == "max":
        return [max(column) for column in zip(*images, strict=True)]
    if kind == "any-lesion":
        return min(images, key=lambda image: image[healthy])
    if kind == "mean":
        return [fmean(column) for column in zip(*images, strict=True)]
    roots = [math.prod(column) ** (1 / len(images)) for column in zip(*images, strict=True)]
    return [root / sum(roots) for root in roots]


@pytest.mark.parametrize("kind", PATIENT_RULES)
def test_each_rule_is_its_definition(kind):
    combined = PatientRule(kind, healthy=1).apply(DRAWN.astype(np.float32), PATIENTS)
    expected = [by_hand(kind, DRAWN[patient == PATIENTS].tolist(), 1) for patient in (2, 5, 8)]
    np.testing.assert_allclose(combined, expected, atol=1e-6)
    if kind in [rule.kind for rule in patient_rules(1)]:  # the others are for labels, which do not sum to 1
        np.testing.assert_allclose(combined.sum(axis=1), 1, atol=1e-6)


def test_any_lesion_of_two_classes_takes_the_highest_probability_of_the_ill():
    pairs = DRAWN[:, :2] / DRAWN[:, :2].sum(axis=1, keepdims=True)
    combined = PatientRule("any-lesion", healthy=0).apply(pairs, PATIENTS)
    np.testing.assert_allclose(combined[:, 1], [pairs[patient == PATIENTS, 1].max() for patient in (2, 5, 8)])


def test_any_lesion_needs_a_healthy_class():
    assert [rule.kind for rule in patient_rules(None)] == ["mean", "geometric-mean"]
    assert [rule.kind for rule in patient_rules(0)] == ["mean", "geometric-mean", "any-lesion"]
    assert [rule.kind for rule in LABEL_PATIENT_RULES] == ["mean", "max"]
    with pytest.raises(ValueError, match="any-lesion needs a healthy class"):
        PatientRule("any-lesion")
    with pytest.raises(ValueError, match="kind must be one of mean, geometric-mean, any-lesion, max, but got 'median'"):
        PatientRule("median")


def test_a_combination_keeps_the_rule_and_older_ones_have_the_mean():
    combination = Combination("mean", (1.0,), (1.0,), patients=PatientRule("any-lesion", 2))
    saved = combination.to_dict()
    assert Combination.from_dict(saved) == combination == combination.of_voters()
    del saved["patients"]
    assert Combination.from_dict(saved).patients == PatientRule("mean")


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_combines_the_images_of_a_patient_like_its_ensemble(kind):
    rule = PatientRule("any-lesion", 0)
    ensemble = Combination(kind, (0.5, 0.5), (1.0, 2.0), ((1.0,) * 4,) * 2, (0.0, 0.0), patients=rule)
    member, slices = ensemble.of_member(1), np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_array_equal(member.apply(slices[None]), slices)
    np.testing.assert_array_equal(member.patients.apply(slices, np.zeros(3, dtype=np.int64)), [[0.2, 0.8]])
