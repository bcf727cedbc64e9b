import numpy as np
import torch

from tests.trainables.core.inspect.test_grad_cam import classifier, pixels
from trainables.core.inspect.features import head_features


def test_features_are_the_inputs_of_the_head():
    model, images = classifier("scratch_cnn", 32), pixels(70, 32)
    indices = np.array([69, 3, 3, *range(64)])
    inputs = []
    handle = model.head.register_forward_pre_hook(lambda _, received: inputs.append(received[0]))
    with torch.no_grad():
        logits = model(torch.from_numpy(images[indices]))
    handle.remove()
    features, probabilities = head_features(model, images, indices)
    np.testing.assert_allclose(features, inputs[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(probabilities, logits.softmax(1).numpy(), atol=1e-5)


def test_no_images_give_no_features():
    assert head_features(classifier("scratch_cnn", 32), pixels(2, 32), np.arange(0))[0].shape == (0, 256)


def test_a_time_limit_ends_after_a_batch():
    model, images = classifier("scratch_cnn", 32), pixels(70, 32)
    features, probabilities = head_features(model, images, np.arange(70), seconds=-1)
    np.testing.assert_allclose(features, head_features(model, images, np.arange(64))[0], atol=1e-5)
    assert probabilities.shape == (64, 3)
