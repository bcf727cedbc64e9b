"""How good the best of many trials looks for having been chosen, and how good it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics import Probabilities, Sample, corrected_score

_RESAMPLES = 400


@dataclass(frozen=True)
class Tuned:
    """The best trial of a search on the images by which it was chosen.

    Attributes:
        trials: How many it was chosen from.
        score: Its score: the best of so many, so too good.
        corrected: The score to expect of a trial so chosen (BBC-CV); None where there are too few groups to tell.
    """

    trials: int
    score: float
    corrected: float | None

    def told(self, metric: str) -> str:
        """A sentence without its full stop."""
        unbiased = (
            "how much of that is the luck of being chosen cannot be told: a class has too few groups"
            if self.corrected is None
            else f"{self.corrected:.4f} is to be expected of a trial so chosen (BBC-CV)"
        )
        chosen = f"tuning chose among {self.trials} trials on these very images"
        return f"{chosen}: the best has {metric} {self.score:.4f}, and {unbiased}"


def best_of_trials(predictions: Sequence[Probabilities], sample: Sample) -> Tuned:
    """Corrects the best trial's score by BBC-CV (Tsamardinos et al. 2018), over all that it was chosen from.

    Args:
        predictions: Of each trial, the best first, (N, C) out-of-fold probabilities.
        sample: The N images.
    """
    corrected = corrected_score(predictions, sample, count=_RESAMPLES)
    return Tuned(len(predictions), sample.score(predictions[0]), None if np.isnan(corrected) else corrected)
