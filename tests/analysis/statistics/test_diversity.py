import numpy as np
import pytest

from analysis.statistics.diversity import diversity
from tests.analysis.samples import drawn


def test_against_pairs_by_hand():
    probabilities, sample = drawn(count=4)
    result = diversity(probabilities, sample.labels)
    predicted = probabilities.argmax(2)
    pairs = []
    for one in range(4):
        for other in range(4):
            assert result.disagreement[one][other] == pytest.approx(np.mean(predicted[one] != predicted[other]))
            expected = np.corrcoef(predicted[one] != sample.labels, predicted[other] != sample.labels)[0, 1]
            assert result.error_correlation[one][other] == pytest.approx(expected)
            if one < other:
                pairs.append((np.mean(predicted[one] != predicted[other]), expected))
    assert (result.mean_disagreement, result.mean_error_correlation) == pytest.approx(np.mean(pairs, axis=0))


def test_a_faultless_member_has_no_error_correlation():
    probabilities, sample = drawn(count=2)
    probabilities[0] = np.eye(3)[sample.labels]
    result = diversity(probabilities, sample.labels)
    assert result.error_correlation[0] == (None, None)
    assert result.mean_error_correlation is None


def test_one_member_has_no_pairs():
    probabilities, sample = drawn(count=1)
    assert diversity(probabilities, sample.labels).mean_disagreement is None
