"""How good the best of many trials look for having been chosen, and how good they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Indices, Probabilities, Sample, corrected_score
from trainables.core.metric_names import MINIMIZED

_RESAMPLES = 400


@dataclass(frozen=True)
class SelectionBias:
    """The best trials of a search on the images by which they were chosen.

    Attributes:
        trials: How many they were chosen from.
        score: Of the best one: the best of so many, so too good.
        corrected: The score to expect of a trial so chosen (BBC-CV); None where there are too few groups to tell.
        k: How many of the best are members.
        together: The score of the mean of the k best.
        together_corrected: The score to expect of the mean of k trials so chosen, or None likewise.
    """

    trials: int
    score: float
    corrected: float | None
    k: int
    together: float
    together_corrected: float | None

    def describe(self, metric: str) -> str:
        """A sentence without its full stop."""
        chosen = f"tuning chose among {self.trials} trials on these very images"
        if self.corrected is None or self.together_corrected is None:
            return f"{chosen}; how much of the scores is the luck of being chosen cannot be told: too few groups"
        return (
            f"{chosen}: the best has {metric} {self.score:.4f}, of which {self.corrected:.4f} is to be expected "
            f"(BBC-CV); the mean of the {self.k} best {self.together:.4f}, of which {self.together_corrected:.4f}"
        )


def best_of_trials(predictions: Sequence[Probabilities], sample: Sample, k: int) -> SelectionBias:
    """Corrects the best trial's score, and that of the k best's mean, by BBC-CV (Tsamardinos et al. 2018).

    On each resample of the groups the best are chosen anew, from all trials, and scored on the groups left out.

    Args:
        predictions: Of each trial, the best first, (N, C) out-of-fold probabilities.
        sample: The N images.
        k: How many of the best are members; no more than there are trials.
    """
    k = min(k, len(predictions))

    def choose(scores: NDArray[np.float64]) -> Indices:
        signed = scores * (1 if sample.metric in MINIMIZED else -1)  # NaN goes last
        return np.argsort(signed, kind="stable")[:k]

    alone = corrected_score(predictions, sample, count=_RESAMPLES)
    together = corrected_score(predictions, sample, choose, count=_RESAMPLES)
    return SelectionBias(
        trials=len(predictions),
        score=sample.score(predictions[0]),
        corrected=None if np.isnan(alone) else alone,
        k=k,
        together=sample.score(np.mean(predictions[:k], axis=0)),
        together_corrected=None if np.isnan(together) else together,
    )
