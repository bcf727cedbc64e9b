import dataclasses

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from analysis.report.sections.confused_pair import confused_pair, most_confused
from tests.analysis.report.report_inputs import with_result


@pytest.mark.parametrize(
    ("confusion", "pair"),
    [
        ([[9, 1, 0], [0, 5, 5], [0, 4, 6]], (1, 2)),
        ([[90, 10, 0], [0, 10, 0], [0, 2, 3]], (1, 2)),  # by share: 10 of 100 is less than 2 of 5
        ([[1, 0], [3, 1]], (0, 1)),
        ([[4, 0], [0, 4]], None),
        ([[0, 0, 0], [0, 4, 0], [1, 0, 4]], (0, 2)),  # a class without images
    ],
)
def test_the_pair_has_the_largest_share_of_mistakes(confusion, pair):
    assert most_confused(confusion) == pair


def test_the_mistakes_between_the_pair_are_counted_and_shown(search, ensemble):
    gallery = confused_pair(search, ensemble)
    data, names = search.data, search.data.class_names
    labels = data.labels[data.splits["test"]]
    predicted = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions).argmax(axis=1)
    counts = confusion_matrix(labels, predicted)
    first, second = most_confused(counts)
    assert len(gallery.examples) == min(6, counts[first, second]) + min(6, counts[second, first]) > 0
    for true, other in ((first, second), (second, first)):
        mistakes = f"{counts[true, other]} of {counts[true].sum()} images of {names[true]} were predicted as"
        assert f"{mistakes} {names[other]}" in gallery.caveat
    label_of = dict(zip(search.file_names, data.labels, strict=True))
    prediction_of = dict(zip(np.array(search.file_names)[data.splits["test"]], predicted, strict=True))
    for example in gallery.examples:
        true, prediction, name = example.lines
        assert true == f"true class {names[label_of[name]]}"
        assert prediction.startswith(f"predicted {names[prediction_of[name]]} (")
        assert label_of[name] != prediction_of[name]


def test_without_mistakes_or_predictions_the_gallery_says_why_it_is_empty(search, ensemble):
    without = dataclasses.replace(ensemble, test_predictions=None, why_no_predictions="the disk is gone")
    assert "the disk is gone" in confused_pair(search, without).missing
    scores = dataclasses.replace(ensemble.evaluation.ensemble, confusion=[[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    evaluation = dataclasses.replace(ensemble.evaluation, ensemble=scores)
    perfect = with_result(ensemble, evaluation=evaluation)
    assert "all test images correctly" in confused_pair(search, perfect).missing
