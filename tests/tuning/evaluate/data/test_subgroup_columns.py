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
