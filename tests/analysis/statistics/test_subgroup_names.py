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


@pytest.mark.parametrize("column", ["altered_mental_status", "stage", "Alteration", "psychoalter2x"])
def test_only_a_word_for_age_makes_a_column_of_ages(column):
    assert subgroups_by(column, ["0", "1", "1"]) == ["0", "1", "1"]


@pytest.mark.parametrize("column", ["age", "PatientAge", "age_years", "Alter", "alter_bei_aufnahme", "Patientenalter"])
def test_ages_are_divided_into_ranges(column):
    found = subgroups_by(column, ["17", "50,5", "39.5", "006M", "80 years", "120"])
    old, young = "65 and above", "below 18"
    assert found == [young, "40 to below 65", "18 to below 40", young, old, old]


@pytest.mark.parametrize("unknown", ["", "unknown", "Unknown", "n/a", "NaN", "?", "not recorded", "-1", "999", "121Y"])
def test_an_unknown_age_leaves_the_ranges_of_the_others(unknown):
    assert subgroups_by("age", ["17", unknown, "70"]) == ["below 18", "unknown", "65 and above"]


@pytest.mark.parametrize("unknown", ["N/A", "unknown", "-"])
def test_words_for_unknown_values_are_one_subgroup(unknown):
    assert subgroups_by("scanner", ["A", unknown, ""]) == ["A", "unknown", "unknown"]
    doses = subgroups_by("dose", [unknown, *map(str, range(20))])
    assert doses[:2] == ["unknown", "below 4.75"]


def test_commas_are_decimal_unless_they_may_be_of_thousands():
    points = [f"{step}.5" for step in range(20)]
    assert subgroups_by("dose", [dose.replace(".", ",") for dose in points]) == subgroups_by("dose", points)
    assert in_order(["10,5", "9,5"]) == ["9,5", "10,5"]
    thousands = [f"{step},000" for step in range(1, 21)]
    assert subgroups_by("dose", thousands) == thousands
