import json
from dataclasses import asdict

import numpy as np
import pytest

from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.combine_labels import LabelCombination
from trainables.core.serving.operating_point import (
    IMAGE,
    PATIENT,
    OperatingPoint,
    disease_point,
    reaches,
    shown_threshold,
)


def test_a_threshold_is_the_lowest_positive_probability_as_float32():
    tenth = np.float32(0.1)  # above 0.1, so a comparison as float64 with 0.1 would be right here and wrong below
    assert reaches([tenth, np.nextafter(tenth, np.float32(0))], 0.1).tolist() == [True, False]
    assert reaches(np.array([0.1]), float(tenth)).tolist() == [True]  # 0.1 as float64 is below the float32


def test_of_two_classes_the_one_that_is_not_healthy_is_positive():
    point = disease_point(("NORMAL", "PNEUMONIA"), "NORMAL", 0.25, "youden", IMAGE)
    probabilities = np.array([[0.75, 0.25], [0.8, 0.2]], dtype=np.float32)
    assert (point.positive, point.column, point.complement) == ("PNEUMONIA", 1, False)
    assert point.score(probabilities).tolist() == probabilities[:, 1].tolist()
    assert point.decide(probabilities).tolist() == [True, False]
    assert point.positives(np.array([1, 0, 1])).tolist() == [True, False, True]


def test_of_several_classes_all_but_the_healthy_one_are_positive():
    point = disease_point(("mild", "none", "severe"), "none", 0.5, "youden", PATIENT)
    probabilities = np.array([[0.3, 0.5, 0.2], [0.1, 0.6, 0.3]], dtype=np.float32)
    assert point.positive == "any but none"
    np.testing.assert_array_equal(point.score(probabilities), np.float32(1) - probabilities[:, 1])
    assert point.decide(probabilities).tolist() == [True, False]
    assert point.positives(np.array([0, 1, 2])).tolist() == [True, False, True]


def test_points_survive_the_files_of_a_model_and_older_models_have_none():
    point = disease_point(("a", "b"), "a", 0.1, "sensitivity=0.95", PATIENT)
    stored = Combination("mean", (1.0,), (1.0,), points=(point,)).to_dict()
    loaded = Combination.from_dict(json.loads(json.dumps(stored)))
    assert loaded.points == (point,) and loaded.of_voters().points == (point,)
    assert loaded.point_of(PATIENT) == point and loaded.point_of(IMAGE) is None
    del stored["points"]
    assert Combination.from_dict(stored).points == ()


def test_thresholds_of_labels_are_operating_points():
    combination = LabelCombination(
        "mean", (1.0,), (1.0,), label_temperatures=((1.0, 1.0),), thresholds=(0.3, 0.6), member_thresholds=((0.3, 0.6),)
    )
    first, second = combination.operating_points(("mass", "nodule"))
    assert first == OperatingPoint("mass", 0, False, 0.3, "f1") and second.threshold == 0.6
    probabilities = np.array([[0.3, 0.9], [0.2, 0.6]], dtype=np.float32)
    decided = np.stack([first.decide(probabilities), second.decide(probabilities)], axis=1)
    np.testing.assert_array_equal(decided, combination.decide(probabilities))
    assert second.positives(np.array([[1, 0], [0, 1]])).tolist() == [False, True]
    older = combination.to_dict()
    del older["threshold_rule"]
    assert LabelCombination.from_dict(older) == combination


def test_a_point_is_described_in_one_phrase():
    point = OperatingPoint("PNEUMONIA", 1, False, 0.4123, "youden")
    assert point.describe() == "PNEUMONIA if its probability is at least 0.412 (youden)"
    assert OperatingPoint(**json.loads(json.dumps(asdict(point)))) == point
    assert point.threshold == pytest.approx(0.4123)


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [
        *((0.0, "0.000"), (1e-12, "1e-12"), (0.0003, "0.0003"), (0.25, "0.250"), (0.99961, "0.9996"), (1.0, "1.000")),
        (float(np.nextafter(np.float32(1), np.float32(2))), "1.0000001"),
    ],
)
def test_a_threshold_is_shown_apart_from_0_and_1(threshold, shown):
    assert shown_threshold(threshold) == shown
    assert f"at least {shown} (" in OperatingPoint("ill", 1, False, threshold, "youden").describe()
