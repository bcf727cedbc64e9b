"""Rules that combine the members' probabilities of independent labels, and the thresholds that decide on each label."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainables.core.serving.combining.combine import MIN_PROBABILITY, Combination, Probabilities
from trainables.core.serving.operating_point import OperatingPoint, reaches


@dataclass(frozen=True)
class LabelCombination(Combination):
    """Fitted rule that combines (M, N, L) probabilities of M members to (N, L), each label by itself.

    Attributes:
        kind: ``mean``: weighted arithmetic mean. ``geometric mean``: weighted mean of the log odds.
        label_temperatures: (M, L) temperatures T. Log odds are first divided by them (Guo et al. 2017).
        thresholds: (L,) probabilities from which the combined members assign a label.
        member_thresholds: (M, L) those from which each member does.
        threshold_rule: Rule that chose the thresholds.
    """

    label_temperatures: tuple[tuple[float, ...], ...] = ()
    thresholds: tuple[float, ...] = ()
    member_thresholds: tuple[tuple[float, ...], ...] = ()
    threshold_rule: str = "f1"

    def apply(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Combine (M, N, L) probabilities to (N, L)."""
        if len(probabilities) != len(self.weights):
            raise ValueError(f"predictions must be of {len(self.weights)} members, but got {len(probabilities)}")
        tempered = temper_labels(probabilities, self.label_temperatures)
        if self.kind == "mean":
            return np.asarray(np.tensordot(np.array(self.weights), tempered, axes=1))
        return _expit(np.tensordot(np.array(self.weights), _logit(tempered), axes=1))

    def decide(self, probabilities: Probabilities) -> NDArray[np.bool_]:
        """Return (N, L) True where combined probabilities reach the threshold of their label."""
        return reaches(probabilities, self.thresholds)

    def operating_points(self, class_names: Sequence[str]) -> tuple[OperatingPoint, ...]:
        """Return the threshold of each label as an operating point."""
        return tuple(
            OperatingPoint(name, label, False, threshold, self.threshold_rule)
            for label, (name, threshold) in enumerate(zip(class_names, self.thresholds, strict=True))
        )

    def scorable(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Return (N, 2L): the combined probabilities of the labels, then the decisions, 0 or 1."""
        combined = self.apply(probabilities)
        return np.hstack([combined, self.decide(combined)])

    def of_member(self, position: int) -> "LabelCombination":
        """Return the combination that makes one of the members, with its thresholds, an ensemble of its own."""
        return self._of_one(self.member_thresholds[position])

    def of_combined(self, columns: NDArray[np.int64]) -> "LabelCombination":
        """Return the combination that leaves (1, N, K) combined predictions as they are, with the same thresholds.

        Args:
            columns: (K,) labels of the predictions.
        """
        return self._of_one(tuple(self.thresholds[column] for column in columns.tolist()))

    def _of_one(self, thresholds: tuple[float, ...]) -> "LabelCombination":
        """Return the combination of a single member with (K,) thresholds."""
        plain = ((1.0,) * len(thresholds),)
        return LabelCombination(
            "mean",
            (1.0,),
            (1.0,),
            label_temperatures=plain,
            thresholds=thresholds,
            member_thresholds=(thresholds,),
            threshold_rule=self.threshold_rule,
        )

    def of_voters(self) -> Self:
        """Return the same combination without the members that have no vote."""
        voters = self.voters()
        return dataclasses.replace(
            super().of_voters(),
            label_temperatures=tuple(self.label_temperatures[member] for member in voters),
            member_thresholds=tuple(self.member_thresholds[member] for member in voters),
        )

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Parse the result of ``to_dict``, as it is or read back from JSON."""
        return dataclasses.replace(
            super().from_dict(raw),
            label_temperatures=tuple(map(tuple, raw["label_temperatures"])),
            thresholds=tuple(raw["thresholds"]),
            member_thresholds=tuple(map(tuple, raw["member_thresholds"])),
            threshold_rule=raw.get("threshold_rule", "f1"),  # the only one of earlier versions
        )


def temper_labels(probabilities: Probabilities, temperatures: ArrayLike) -> NDArray[np.float64]:
    """Apply (M, L) temperatures to (M, N, L) probabilities: above 1 moves them towards 0.5, below 1 away from it."""
    wide = np.asarray(probabilities, dtype=np.float64)
    scale = np.asarray(temperatures)
    return wide if (scale == 1).all() else _expit(_logit(wide) / scale[:, None, :])


def _logit(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probabilities, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    odds: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return odds


def _expit(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)))
