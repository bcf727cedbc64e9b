import numpy as np

from tests.trainables.core.inspect.test_grad_cam import classifier, pixels
from trainables.core.inspect.explanation import ExplanationRequest
from trainables.core.inspect.features import head_features
from trainables.core.inspect.grad_cam import grad_cam


def test_an_answer_holds_features_and_maps_of_the_requested_images():
    model, images = classifier("scratch_cnn", 32), pixels(4, 32)
    explanation = ExplanationRequest(np.array([3, 0, 2]), np.array([1, 2]), np.array([0, 2])).run(model, images)
    np.testing.assert_array_equal(explanation.features, head_features(model, images, np.array([3, 0, 2]))[0])
    np.testing.assert_array_equal(explanation.maps, grad_cam(model, images[1:3], np.array([0, 2])))
    assert explanation.probabilities.shape == (3, 3)


def test_an_answer_without_maps_has_the_reason():
    images, two = pixels(4, 32), np.array([0, 2])
    explanation = ExplanationRequest(two, two, np.array([0, 1])).run(classifier("regnetx_002", 32), images)
    assert explanation.maps is None
    assert "not cut into stages" in explanation.why_no_maps
    assert explanation.features.shape[0] == 2
    explanation = ExplanationRequest(two, two[:0], two[:0]).run(classifier("scratch_cnn", 32), images)
    assert (explanation.maps, explanation.why_no_maps) == (None, "no images were selected for heat maps")
