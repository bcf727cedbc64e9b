import json

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix

from analysis.evaluation import Evaluation, evaluate

LABELS = np.array([0, 0, 1, 1])
NAMES = ("a", "b", "c")


def evaluated():
    right = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
    wrong = np.eye(3)[[1, 1, 1, 1]] * 0.6 + 0.4 / 3
    return evaluate(np.stack([right, wrong]), np.array([0.75, 0.25]), LABELS, NAMES)


def test_an_ensemble_and_each_member_are_scored_in_full():
    scored = evaluated()
    assert scored.ensemble.metrics["accuracy"] == 1.0
    assert [member.metrics["accuracy"] for member in scored.members] == [1.0, 0.5]
    assert scored.absent == ("c",)
    predicted = np.array([1, 1, 1, 1])
    assert scored.members[1].confusion == confusion_matrix(LABELS, predicted, labels=[0, 1, 2]).tolist()
    expected = classification_report(LABELS, predicted, labels=[0, 1, 2], target_names=NAMES, zero_division=0)
    assert scored.members[1].report == expected


def test_an_evaluation_survives_its_way_through_json():
    assert Evaluation.from_dict(json.loads(json.dumps(evaluated().to_dict()))) == evaluated()
