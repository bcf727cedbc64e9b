"""Rules that combine the members' predictions, as PyTorch modules without branches that depend on values."""

from typing import Any

import torch
from torch import Tensor, nn

from trainables.core.serving.combining.combine import MIN_PROBABILITY, Combination
from trainables.core.serving.combining.combine_labels import LabelCombination


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


class LabelCombinationGraph(nn.Module):
    """``LabelCombination.apply`` in float64 tensors."""

    _weights: Tensor
    _temperatures: Tensor

    def __init__(self, combination: LabelCombination):
        super().__init__()
        self._averages_odds = combination.kind != "mean"
        self.register_buffer("_weights", _float64(combination.weights).view(-1, 1, 1))
        self.register_buffer("_temperatures", _float64(combination.label_temperatures)[:, None])

    def forward(self, probabilities: Tensor) -> Tensor:
        """Combine (M, N, L) probabilities to (N, L)."""
        tempered = torch.sigmoid(_log_odds(probabilities.to(torch.float64)) / self._temperatures)
        if self._averages_odds:
            return torch.sigmoid((self._weights * _log_odds(tempered)).sum(dim=0))
        return (self._weights * tempered).sum(dim=0)


def combination_graph(combination: Combination) -> nn.Module:
    """Return the module that combines as ``combination`` does."""
    if isinstance(combination, LabelCombination):
        return LabelCombinationGraph(combination)
    return CombinationGraph(combination)


def _float64(values: tuple[Any, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _logs(probabilities: Tensor) -> Tensor:
    return torch.clamp(probabilities, min=MIN_PROBABILITY).log()


def _log_odds(probabilities: Tensor) -> Tensor:
    bounded = torch.clamp(probabilities, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return bounded.log() - torch.log1p(-bounded)
