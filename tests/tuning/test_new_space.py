import pytest

from tuning.new_space import image_size


@pytest.mark.parametrize(("side", "expected"), [(1024, 224), (224, 224), (200, 224), (100, 128), (28, 32), (8, 32)])
def test_the_input_size_is_the_next_multiple_of_32_up_to_224(side, expected):
    assert image_size(side) == expected
