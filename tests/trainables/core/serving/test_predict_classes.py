import numpy as np
import pytest
import torch

from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.serving.predict_classes import VIEWS, mean_probabilities, predict_probabilities, view
from trainables.core.training.fit import fit


class Corner(PixelNetwork):
    """A network whose output depends only on the upper left pixel."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def features_and_logits(self, images):
        corner = images[:, 0, 0, 0].float() * self.scale
        return corner[:, None], torch.stack([corner, torch.zeros_like(corner)], dim=1)

    def top_down(self):
        return [self]


@pytest.mark.parametrize(
    ("views", "corners"),
    [
        ("none", ["upper left"]),
        ("flips", ["upper left", "upper right", "lower left"]),
        ("turns", ["upper left", "upper right", "lower right", "lower left"]),
        ("all", ["upper left", "upper right", "lower right", "lower left"] * 2),
    ],
)
def test_views_bring_each_corner_to_the_upper_left(views, corners):
    image = np.zeros((1, 4, 4, 1), np.uint8)
    values = {"upper left": 0, "upper right": 1, "lower left": 2, "lower right": 3}
    image[0, 0, 3], image[0, 3, 0], image[0, 3, 3] = 1, 2, 3
    probabilities = predict_probabilities(Corner(), image, np.array([0]), views=views)
    expected = np.mean([1 / (1 + np.exp(-values[corner])) for corner in corners])
    assert probabilities[0, 0] == pytest.approx(expected, abs=1e-6)


def test_all_views_are_different():
    image = np.arange(9).reshape(1, 3, 3, 1)
    for views in VIEWS.values():
        distinct = {view(torch.from_numpy(image), *each).numpy().tobytes() for each in views}
        assert len(distinct) == len(views)


def test_views_of_a_symmetric_image_do_not_change_its_prediction():
    image = np.full((2, 4, 4, 1), 2, np.uint8)
    plain = predict_probabilities(Corner(), image, np.arange(2))
    np.testing.assert_allclose(predict_probabilities(Corner(), image, np.arange(2), views="all"), plain, atol=1e-6)


def test_a_single_prediction_is_returned_unchanged_and_several_are_averaged():
    first, second = np.float32([[0.2, 0.8]]), np.float32([[0.4, 0.6]])
    assert mean_probabilities([first]) is first
    np.testing.assert_allclose(mean_probabilities([first, second]), [[0.3, 0.7]])
    assert mean_probabilities([first, second]).dtype == np.float32


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_cpu_reproduces_predictions_of_the_gpu(config, small_data, precision):
    """Whatever precision trained the network, it is scored in float32, without TensorFloat-32."""
    chosen = config(device="cuda", precision=precision, backbone="resnet18", epochs=1)
    (result,) = fit(chosen, small_data)
    model = build_classifier(chosen, len(small_data.class_names)).eval()
    model.load_state_dict(result.state.model_tensors())
    images, rows = small_data.images(chosen.image_size), small_data.splits["select"]
    on_cpu, on_gpu = (predict_probabilities(model.to(place), images, rows) for place in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4)
