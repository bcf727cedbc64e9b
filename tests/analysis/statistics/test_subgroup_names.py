"""Names and order of subgroups."""

from collections import Counter

import pytest

from analysis.statistics.subgroup_names import in_order, subgroups_by


def test_long_numbers_keep_their_quartiles_apart():
    dates = [str(20240101 + day) for day in range(30)]
    found = subgroups_by("StudyDate", dates)
    ordered = in_order(found)
    assert [Counter(found)[name] for name in ordered] == [8, 7, 7, 8]
    assert ordered == list(dict.fromkeys(found))  # the dates ascend
    assert ordered[1] == "20240108.25 to below 20240115.5"


@pytest.mark.parametrize("unit", [1e-5, 1e-12, 0.1, 1e17])
def test_small_and_large_numbers_are_in_order(unit):
    found = subgroups_by("dose", [str(unit * step) for step in range(1, 21)])
    ordered = in_order(found)
    assert ordered == list(dict.fromkeys(found)) and [Counter(found)[name] for name in ordered] == [5] * 4
