import dataclasses

import numpy as np
import pytest

from analysis.report.sections.confused_pair import confused_pair, most_confused
from tests.analysis.report.report_inputs import made_up_ensemble, made_up_search, made_up_study


@pytest.mark.parametrize(
    ("confusion", "pair"),
    [
        ([[9, 1, 0], [0, 5, 5], [0, 4, 6]], (1, 2)),
        ([[90, 10, 0], [0, 10, 0], [0, 2, 3]], (1, 2)),  # by share: 10 of 100 are fewer than 2 of 5
        ([[1, 0], [3, 1]], (0, 1)),
        ([[4, 0], [0, 4]], None),
        ([[0, 0, 0], [0, 4, 0], [1, 0, 4]], (0, 2)),  # a class without images
    ],
)
def test_the_pair_is_the_one_of_the_largest_share(confusion, pair):
    assert most_confused(confusion) == pair


@pytest.fixture(scope="module")
def search(small_data):
    return made_up_search(small_data, made_up_study())


def test_the_mistakes_between_the_pair_are_shown_and_counted(search):
    ensemble = made_up_ensemble(search)
    gallery = confused_pair(search, ensemble)
    counts, names = np.array(ensemble.evaluation.ensemble.confusion), search.data.class_names
    first, second = most_confused(counts)
    assert len(gallery.shots) == min(6, counts[first, second]) + min(6, counts[second, first]) > 0
    told = f"{counts[first, second]} of {counts[first].sum()} images of {names[first]} were taken for {names[second]}"
    assert told in gallery.caveat
    files = dict(zip(search.names, search.data.labels, strict=True))
    for shot in gallery.shots:
        kind, taken, name = shot.lines
        assert kind == f"is {names[files[name]]}" and taken.split(" (")[0] != f"taken for {names[files[name]]}"


def test_without_mistakes_or_predictions_it_says_so(search):
    ensemble = made_up_ensemble(search, on_test=None, why_none="they are gone")
    assert "they are gone" in confused_pair(search, ensemble).missing
    scores = dataclasses.replace(ensemble.evaluation.ensemble, confusion=[[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    right = dataclasses.replace(ensemble, evaluation=dataclasses.replace(ensemble.evaluation, ensemble=scores))
    assert "no image of test for another class" in confused_pair(search, right).missing
