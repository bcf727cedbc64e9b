import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from analysis.evaluation import evaluate


def test_an_ensemble_and_its_members_are_scored():
    labels = np.array([0, 0, 1, 1])
    right = np.eye(3)[labels] * 0.9 + 0.1 / 3
    wrong = np.eye(3)[[1, 1, 1, 1]] * 0.6 + 0.4 / 3
    scored = evaluate(np.stack([right, wrong]), np.array([0.75, 0.25]), labels, ("a", "b", "c"))
    assert scored.ensemble["accuracy"] == 1.0
    assert [member["accuracy"] for member in scored.members] == [1.0, 0.5]
    np.testing.assert_array_equal(scored.confusion, confusion_matrix(labels, labels, labels=[0, 1, 2]))
    assert scored.absent == ("c",)
    assert "precision" in scored.report
    assert scored.ensemble["balanced_accuracy"] == pytest.approx(1.0)
