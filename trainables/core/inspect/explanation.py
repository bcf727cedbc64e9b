"""Explanation of one classifier's predictions, by features and heat maps: the request and its result."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.inspect.features import head_features
from trainables.core.inspect.grad_cam import UnexplainedError, grad_cam
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Explanation:
    """Features and heat maps of the images of an ``ExplanationRequest``.

    Attributes:
        features: (k, F) float32 features of the first k requested images.
        probabilities: (k, C) float32 class probabilities of the same images, without test-time augmentation.
        maps: (m, h, w) float32 heat maps in [0, 1], or None.
        why_no_maps: Reason why ``maps`` is None, else "".
    """

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    why_no_maps: str = ""


@dataclass(frozen=True, eq=False)
class ExplanationRequest:
    """Request for features and heat maps.

    Attributes:
        feature_images: (n,) indices of the images whose features are requested, most important first.
        map_images: (m,) indices of the images whose heat maps are requested.
        map_classes: (m,) class to explain in each of ``map_images``.
        seconds: Time limit for features; images that come too late are left out.
    """

    feature_images: NDArray[np.int64]
    map_images: NDArray[np.int64]
    map_classes: NDArray[np.int64]
    seconds: float = 20.0

    def run(self, model: PixelNetwork, images: NDArray[np.uint8]) -> Explanation:
        """Compute features and heat maps.

        Args:
            model: Classifier in eval mode.
            images: (N, S, S, channels) uint8, all images of the data set.
        """
        assert isinstance(model, Classifier)
        features, probabilities = head_features(model, images, self.feature_images, self.seconds)
        if not len(self.map_images):
            return Explanation(features, probabilities, None, "no images were selected for heat maps")
        try:
            maps = grad_cam(model, images[self.map_images], self.map_classes)
        except UnexplainedError as error:
            return Explanation(features, probabilities, None, str(error))
        return Explanation(features, probabilities, maps)
