"""An ensemble of classifiers as one PyTorch module: raw pixels in, class probabilities out."""

from typing import Any

import torch
from torch import Tensor, nn

from trainables.core.models.networks.base import PixelNetwork
from trainables.core.serving.classification_ensemble import ClassificationEnsemble
from trainables.core.serving.combine import MIN_PROBABILITY, Combination
from trainables.core.serving.export.resize import resize_like_pillow
from trainables.core.serving.predict_classes import VIEWS, view


class EnsembleGraph(nn.Module):
    """The members, their views, and the rule that combines them, with the resizing before them.

    It has no branches that depend on values, so that it can be exported. The numbers are those of
    ``ClassificationEnsemble`` up to rounding in the last digits of float32.
    """

    def __init__(self, ensemble: ClassificationEnsemble):
        super().__init__()
        self._sizes = [member.image_size for member in ensemble.members]
        self._models = nn.ModuleList(nn.ModuleList(member.models) for member in ensemble.members)
        self._views, self._format = VIEWS[ensemble.views], ensemble.pixel_format
        self._combine = CombinationGraph(ensemble.combination)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C) float32 probabilities of N images of one size.

        Args:
            images: (N, H, W, channels) pixels: uint8, or int32 for a format other than 0..255. An image with a value
                outside the format's range gets NaN.
        """
        black, white = self._format.black, self._format.white
        pixels = images
        if (black, white) != (0, 255):
            pixels = torch.round(torch.clamp((images - black).to(torch.float32) * (255 / (white - black)), 0, 255))
        resized = {size: resize_like_pillow(pixels, size) for size in sorted(set(self._sizes))}
        members = [self._member(models, resized[size]) for models, size in zip(self._models, self._sizes, strict=True)]
        probabilities: Tensor = self._combine(torch.stack(members)).to(torch.float32)
        if (black, white) == (0, 255):
            return probabilities
        outside = ((images < black) | (images > white)).flatten(1).any(dim=1, keepdim=True)
        return torch.where(outside, torch.full_like(probabilities, torch.nan), probabilities)

    def _member(self, models: nn.Module, pixels: Tensor) -> Tensor:
        """Return a member's (N, C) probabilities: the mean over the views of each model, then over its models."""
        assert isinstance(models, nn.ModuleList)
        return torch.stack([self._mean_over_views(model, pixels) for model in models]).mean(dim=0)

    def _mean_over_views(self, model: nn.Module, pixels: Tensor) -> Tensor:
        views = torch.cat([view(pixels, *each) for each in self._views])  # one batch, so that the graph is small
        assert isinstance(model, PixelNetwork)
        probabilities = model.probabilities(model(views))
        return probabilities.reshape(len(self._views), -1, probabilities.shape[1]).mean(dim=0)


class CombinationGraph(nn.Module):
    """``Combination.apply`` in float64 tensors."""

    _weights: Tensor
    _temperatures: Tensor
    _coefficients: Tensor
    _intercept: Tensor

    def __init__(self, combination: Combination):
        super().__init__()
        self._rule, self._voters = _RULES[combination.kind], len(combination.voters())
        self.register_buffer("_weights", _float64(combination.weights).view(-1, 1, 1))
        self.register_buffer("_temperatures", _float64(combination.temperatures).view(-1, 1, 1))
        self.register_buffer("_coefficients", _float64(combination.coefficients))
        self.register_buffer("_intercept", _float64(combination.intercept))

    def forward(self, probabilities: Tensor) -> Tensor:
        """Combine (M, N, C) probabilities to (N, C), with rows that sum to 1."""
        logs = _logs(probabilities.to(torch.float64))
        tempered = torch.softmax(logs / self._temperatures, dim=-1)
        combined = self._rule(self, tempered)
        return combined / combined.sum(dim=-1, keepdim=True)

    def _mean(self, probabilities: Tensor) -> Tensor:
        return (self._weights * probabilities).sum(dim=0)

    def _geometric_mean(self, probabilities: Tensor) -> Tensor:
        return torch.softmax((self._weights * _logs(probabilities)).sum(dim=0), dim=-1)

    def _confidence(self, probabilities: Tensor) -> Tensor:
        entropy = -(probabilities * _logs(probabilities)).sum(dim=-1, keepdim=True)
        confidence = torch.clamp(1 - entropy / torch.tensor(probabilities.shape[-1]).log(), 0, 1)
        return (self._weights * torch.clamp(confidence, min=MIN_PROBABILITY) * probabilities).sum(dim=0)

    def _majority(self, probabilities: Tensor) -> Tensor:
        votes = nn.functional.one_hot(probabilities.argmax(dim=-1), probabilities.shape[-1]).to(torch.float64)
        return self._voters * self._mean(votes) + self._mean(probabilities)

    def _stacked(self, probabilities: Tensor) -> Tensor:
        features = _logs(probabilities).transpose(0, 1).flatten(1)
        return torch.softmax(features @ self._coefficients.T + self._intercept, dim=-1)


_RULES = {
    "mean": CombinationGraph._mean,
    "geometric mean": CombinationGraph._geometric_mean,
    "confidence": CombinationGraph._confidence,
    "majority": CombinationGraph._majority,
    "stacked": CombinationGraph._stacked,
}


def _float64(values: tuple[Any, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _logs(probabilities: Tensor) -> Tensor:
    return torch.clamp(probabilities, min=MIN_PROBABILITY).log()
