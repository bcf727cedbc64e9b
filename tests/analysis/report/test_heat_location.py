import numpy as np
import pytest

from analysis.report.heat_location import BORDER_AREA, CORNER_AREA, HeatLocation, describe_location


def test_even_heat_has_the_shares_of_the_areas():
    even = HeatLocation.of(np.ones((2, 7, 7), dtype=np.float32))
    assert (even.border, even.corners) == pytest.approx((0.36, 0.16))
    assert pytest.approx((0.36, 0.16)) == (BORDER_AREA, CORNER_AREA)
    assert not even.conspicuous


def test_heat_in_a_corner_is_conspicuous_and_in_the_middle_is_not():
    corner, middle = np.zeros((2, 10, 10), dtype=np.float32)
    corner[:2, :2], middle[3:7, 3:7] = 1, 1
    found = HeatLocation.of(corner[None])
    assert found.corners > 0.85 and found.conspicuous
    assert "look for markers" in found.describe()
    centred = HeatLocation.of(middle[None])
    assert centred.border == centred.corners == 0
    assert "look for" not in centred.describe()
    both = HeatLocation.of(np.stack([corner, middle]))
    assert both.corners == pytest.approx(found.corners / 2)


def test_maps_whose_cells_are_larger_than_a_corner_say_nothing_about_markers():
    """Two cells a side put the same share of heat into corners wherever it lies within a quarter of the image."""
    for cells in (2, 4):
        said = describe_location(np.ones((1, cells, cells), dtype=np.float32))
        assert said.startswith(f"Maps of {cells} x {cells} cells are too coarse") and "%" not in said
    assert describe_location(np.ones((1, 5, 5), dtype=np.float32)).startswith("36% of the heat lies in the outer tenth")
    assert describe_location(np.zeros((1, 5, 5), dtype=np.float32)) == ""


def test_maps_without_heat_do_not_count():
    assert HeatLocation.of(np.zeros((3, 4, 4), dtype=np.float32)) is None
    maps = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)
    assert HeatLocation.of(maps).border == pytest.approx(BORDER_AREA)
