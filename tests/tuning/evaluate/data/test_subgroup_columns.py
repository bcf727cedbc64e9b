import pytest

from trainables.core.errors import UserError
from tuning.evaluate.data.subgroup_columns import subgroup_names


def names(column, values):
    return subgroup_names({column: values}, [column])[column]


def test_ages_are_divided_at_18_40_and_65_years():
    """Also those of DICOM, such as 017Y."""
    found = names("Patient Age", ["17", "18", "039Y", "40", "64.5", "65 years", ""])
    below, young, middle, old = "below 18", "18 to below 40", "40 to below 65", "65 and above"
    assert found == [below, young, young, middle, middle, old, "unknown"]


@pytest.mark.parametrize("column", ["age", "PatientAge", "Patient's Age"])
def test_ages_in_days_weeks_and_months_are_converted_to_years(column):
    below = ["006M", "003W", "010D", "215M", "939W", "6574d", "18 months", "2 wk"]
    young = ["216M", "940W", "6575 days", "39 years"]
    expected = ["below 18"] * 8 + ["18 to below 40"] * 4 + ["40 to below 65", "unknown"]
    assert names(column, [*below, *young, "045Y", ""]) == expected


def test_units_of_ages_are_only_those_of_ages():
    assert names("distance", ["6M", "3"]) == ["6M", "3"]
    assert names("age", ["6M", "3 cm"]) == ["6M", "3 cm"]


def test_other_numbers_are_divided_at_their_quartiles_and_few_of_them_not_at_all():
    found = names("dose", [str(value) for value in range(1, 13)])
    assert [found.count(name) for name in dict.fromkeys(found)] == [3, 3, 3, 3]
    assert names("dose", ["1", "2", "2", ""]) == ["1", "2", "2", "unknown"]
    assert names("image", ["3", "4"]) == ["3", "4"]


def test_names_stay_and_empty_ones_are_unknown():
    assert names("site", ["A", " B  b ", ""]) == ["A", "B b", "unknown"]


def test_a_column_of_many_names_and_an_unknown_column_are_refused():
    with pytest.raises(UserError, match="at most 30 values, but 'id' has 31"):
        names("id", [f"x{value}" for value in range(31)])
    with pytest.raises(UserError, match="got 'sit', and DATA has site, sex; did you mean 'site'"):
        subgroup_names({"site": ["A"], "sex": ["F"]}, ["sit"])
    with pytest.raises(UserError, match="has no further columns"):
        subgroup_names({}, ["sit"])
