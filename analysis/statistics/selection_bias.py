"""Selection bias: the best of many trials looks better than it is, because luck helped to choose it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Indices, Probabilities, Sample, corrected_score
from trainables.core.metric_names import MINIMIZED

_RESAMPLES = 400


@dataclass(frozen=True)
class SelectionBias:
    """Scores of the best trials on the images they were chosen on, with and without the selection bias.

    Attributes:
        trials: Number of trials to choose from.
        score: Score of the best trial, biased upwards.
        corrected: Expected score of a trial chosen this way (BBC-CV); None with too few groups.
        k: Number of members.
        together: Score of the mean of the k best trials.
        together_corrected: Expected score of the mean of k trials chosen this way; None with too few groups.
    """

    trials: int
    score: float
    corrected: float | None
    k: int
    together: float
    together_corrected: float | None

    def describe(self, metric: str) -> str:
        """Return a sentence about the scores, without capital letter and full stop."""
        trials = f"the search chose among {self.trials} trials on these same images"
        if self.corrected is None or self.together_corrected is None:
            return f"{trials}; with so few groups, the selection bias of the scores is unknown"
        best = f"the best has {metric} {self.score:.4f}, corrected for this choice {self.corrected:.4f} (BBC-CV)"
        mean = f"the mean of the best {self.k} has {self.together:.4f}, corrected {self.together_corrected:.4f}"
        return f"{trials}: {best}; {mean}"


def best_of_trials(predictions: Sequence[Probabilities], sample: Sample, k: int) -> SelectionBias:
    """Correct the scores of the best trial and of the mean of the k best by BBC-CV (Tsamardinos et al. 2018).

    Each resample of the groups chooses the best of all trials again, and scores them on the groups it left out.

    Args:
        predictions: (N, C) out-of-fold probabilities of each trial, best trial first.
        sample: The N images.
        k: Number of members; at most the number of trials.
    """
    k = min(k, len(predictions))

    def choose(scores: NDArray[np.float64]) -> Indices:
        signed = scores * (1 if sample.metric in MINIMIZED else -1)  # NaN goes last
        return np.argsort(signed, kind="stable")[:k]

    single = corrected_score(predictions, sample, count=_RESAMPLES)
    together = corrected_score(predictions, sample, choose, count=_RESAMPLES)
    return SelectionBias(
        trials=len(predictions),
        score=sample.score(predictions[0]),
        corrected=None if np.isnan(single) else single,
        k=k,
        together=sample.score(np.mean(predictions[:k], axis=0)),
        together_corrected=None if np.isnan(together) else together,
    )
