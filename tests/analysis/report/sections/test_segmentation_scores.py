import numpy as np
import pytest

from analysis.report.sections.segmentation_scores import worst_and_best


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_lowest_and_the_highest_scores_come_in_order(count):
    scores = np.array([0.5, 0.1, 0.9, 0.3, 0.7])
    ascending = np.sort(scores)
    expected = ascending if 2 * count >= len(scores) else [*ascending[:count], *ascending[-count:]]
    np.testing.assert_array_equal(scores[worst_and_best(scores, count)], expected)
