import numpy as np

from analysis.report.figures.embedded_images import EmbeddedImages, scatter_by_class, scatter_by_mistake
from tests.analysis.samples import NAMES


def test_every_image_is_drawn_once_in_the_group_it_belongs_to():
    labels = np.array([0, 0, 1, 1, 2])
    splits, correct = np.array(["fit", "test", "fit", "test", "fit"]), np.array([True, False, True, True, False])
    images = EmbeddedImages(np.arange(10.0).reshape(5, 2), labels, splits, correct)
    by_class = {trace.name: list(trace.x) for trace in scatter_by_class(images, NAMES).data}
    assert by_class == {"a, fit": [0], "a, test": [2], "b, fit": [4], "b, test": [6], "c, fit": [8]}
    by_mistake = {trace.name: list(trace.x) for trace in scatter_by_mistake(images, NAMES).data}
    assert by_mistake == {
        "correct, fit (2)": [0, 4],
        "correct, test (1)": [6],
        "wrong, fit (1)": [8],
        "wrong, test (1)": [2],
    }
