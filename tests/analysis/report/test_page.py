import pytest

from analysis.report.page import Table


@pytest.mark.parametrize(
    ("cells", "number"),
    [
        (["0.5", "", "1e-05"], True),
        (["0.833 [0.750, 0.901]", "5/7, from 1 group"], True),
        (["-0.1"], True),
        (["+0.206 [+0.006, +0.417]", "-0.091 [-0.239, +0.063]"], True),
        (["0.5", "adam"], False),
        (["efficientnet_b2"], False),
    ],
)
def test_a_column_is_right_aligned_if_all_its_cells_begin_with_a_number(cells, number):
    assert Table("", "", ["column"], [[cell] for cell in cells]).is_number(0) == number
