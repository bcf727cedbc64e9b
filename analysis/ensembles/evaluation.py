"""The sealed test set, opened for one ensemble and its members: every figure, with what is uncertain about it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from sklearn.metrics import classification_report

from analysis.statistics.calibration import Bin, brier_scores, expected_calibration_error, reliability
from analysis.statistics.resampling import (
    GROUPS_FOR_INTERVAL,
    Probabilities,
    Sample,
    few_groups,
    intervals,
    permutation_test,
)
from trainables.core.serving.combine import Combination
from trainables.core.training.classification_metrics import absent_classes, class_keys, confusion_counts


@dataclass(frozen=True)
class Recall:
    """How many images of a class were recognised.

    Attributes:
        name: The class.
        right: Images recognised.
        images: Images of the class, at least 1.
        groups: Groups that have an image of it.
        interval: 95%, or None with fewer than 10 groups.
    """

    name: str
    right: int
    images: int
    groups: int
    interval: tuple[float, float] | None

    def told(self) -> str:
        """``0.833 [0.750, 0.901]``, or ``5/7, from 1 group`` where there is no interval."""
        if self.interval is None:
            return f"{self.right}/{self.images}, from {self.groups} group{'s' * (self.groups != 1)}"
        return f"{self.right / self.images:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


@dataclass(frozen=True)
class Scores:
    """One model on ``test``.

    Attributes:
        metrics: Of its task, without undefined ones; of a classification also ``brier`` and ``ece`` (expected
            calibration error).
        intervals: 95% of each of them. ``ece`` has none: it is biased upwards in every resample. Classes with fewer
            than 10 groups have none.
        recalls: A class that is present each.
        reliability: The bins of a reliability diagram.
        confusion: (C, C) counts, true classes in rows.
        report: scikit-learn's classification report.
        per_image: (N,) mean Dice over classes of each image, of a segmentation, which has nothing of the four above.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    recalls: tuple[Recall, ...] = ()
    reliability: tuple[Bin, ...] = ()
    confusion: list[list[int]] = field(default_factory=list)
    report: str = ""
    per_image: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """What ``asdict`` gave, also after a way through JSON."""
        recalls = [
            Recall(**{**recall, "interval": recall["interval"] and tuple(recall["interval"])})
            for recall in raw["recalls"]
        ]
        changed = {
            "intervals": {name: tuple(interval) for name, interval in raw["intervals"].items()},
            "recalls": tuple(recalls),
            "reliability": tuple(Bin(**bin_) for bin_ in raw["reliability"]),
            "per_image": tuple(raw.get("per_image", ())),
        }
        return cls(**{**raw, **changed})


@dataclass(frozen=True)
class Evaluation:
    """An ensemble and its members on ``test``.

    Attributes:
        ensemble: Its scores.
        members: Of each member.
        best_member: The position of the member that was best on ``select``.
        p_value: Of the ensemble against it in the objective (``permutation_test``); None where there is no test.
        groups: How many groups ``test`` has.
        conditional: Classes with fewer than 10 groups: averages over classes hold for these very groups alone.
        absent: Classes of which ``test`` has no image.
    """

    ensemble: Scores
    members: tuple[Scores, ...]
    best_member: int
    p_value: float | None
    groups: int
    conditional: tuple[str, ...]
    absent: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, for the study."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """What ``to_dict`` gave, also after a way through JSON."""
        changed = {
            "ensemble": Scores.from_dict(raw["ensemble"]),
            "members": tuple(map(Scores.from_dict, raw["members"])),
            "conditional": tuple(raw["conditional"]),
            "absent": tuple(raw["absent"]),
        }
        return cls(**{**raw, **changed})

    def caveats(self) -> list[str]:
        """What must be said beside the figures."""
        notes = [f"no test image of {name}" for name in self.absent]
        if self.conditional:
            few = ", ".join(self.conditional)
            notes.append(
                f"averages and their intervals (*) are conditional on the few test groups of {few} "
                f"(fewer than {GROUPS_FOR_INTERVAL}): other patients of that class may give others"
            )
        return notes


def score(probabilities: Probabilities, sample: Sample) -> Scores:
    """Scores (N, C) probabilities of N images."""
    labels, names = sample.labels, sample.class_names
    confusion, bins = confusion_counts(probabilities, labels), reliability(probabilities, labels)
    distances = brier_scores(probabilities, labels)
    metrics = sample.scores(probabilities) | {"brier": float(distances.mean()), "ece": expected_calibration_error(bins)}
    found = intervals(probabilities, sample, {"brier": distances})
    recalls = [
        Recall(
            name=names[label],
            right=int(confusion[label, label]),
            images=int(confusion[label].sum()),
            groups=sample.groups_with(label),
            interval=found.get(f"recall/{class_keys(names)[label]}"),
        )
        for label in np.flatnonzero(confusion.sum(axis=1)).tolist()
    ]
    return Scores(
        metrics={name: value for name, value in metrics.items() if not np.isnan(value)},
        intervals=found,
        recalls=tuple(recalls),
        reliability=bins,
        confusion=confusion.tolist(),
        report=classification_report(
            labels, probabilities.argmax(axis=1), labels=range(len(names)), target_names=names, zero_division=0
        ),
    )


def evaluate(probabilities: Probabilities, combination: Combination, sample: Sample, best_member: int) -> Evaluation:
    """Scores an ensemble and its members.

    Args:
        probabilities: (M, N, C) of the members on ``test``.
        combination: The ensemble's.
        sample: The N images.
        best_member: The position of the member that was best on ``select``.
    """
    combined, alone = combination.apply(probabilities), probabilities[best_member]
    return Evaluation(
        ensemble=score(combined, sample),
        members=tuple(score(member, sample) for member in probabilities),
        best_member=best_member,
        p_value=None if combination.voters() == [best_member] else permutation_test(combined, alone, sample),
        groups=len(sample.members),
        conditional=tuple(sample.class_names[label] for label in few_groups(sample)),
        absent=absent_classes(sample.labels, sample.class_names),
    )
