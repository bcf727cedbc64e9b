"""Output layer for grades: a continuation-ratio model."""

import torch.nn.functional as F
from torch import Tensor, nn


class ContinuationRatio(nn.Module):
    """Layer from (B, C - 1) logits to (B, C) log-probabilities of grades.

    Logit k belongs to the probability that the grade is above k, given that it is at least k. Cross-entropy of the
    result is the sum of the binary cross-entropies of these conditions, each over the images whose grade is at least k.
    This is the loss of CORN (Shi, Cao and Raschka 2021), except that CORN divides the sum over a batch by the number of
    pairs of an image and a condition, not by the number of images. The ratio of the two depends only on the grades in
    the batch. As with any classifier, the most probable grade is predicted, whereas CORN predicts the median.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Turn (B, C - 1) logits into (B, C) float32 log-probabilities, which softmax turns into probabilities."""
        logits = logits.float()
        above = F.logsigmoid(logits).cumsum(dim=1)
        not_above = F.logsigmoid(-logits)
        return F.pad(above, (1, 0)) + F.pad(not_above, (0, 1))
