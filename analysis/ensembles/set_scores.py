"""Scores of prediction sets on ``test``, and of abstaining where a set leaves something open."""

from dataclasses import dataclass

from trainables.core.serving.prediction_sets import LabelSets, PredictionSets

# Units whose set has the truth, all units, and the 95% confidence interval of their share if there are enough groups.
Covered = tuple[int, int, tuple[float, float] | None]


@dataclass(frozen=True)
class SetScores:
    """Scores of prediction sets, and of abstaining where a set does not have exactly one class.

    Attributes:
        sets: Prediction sets.
        units: Images, or patients.
        covered: Those whose set has the true class.
        interval: 95% confidence interval of their share; None with fewer than 10 groups.
        by_class: The covered ones, all, and the interval, for each true class.
        sizes: Number of sets with 0, 1, ..., C classes.
        right_if_single: Sets with one class, which is the true one. It need not be the most likely class, because each
            class has a threshold of its own.
        risk_area: Area under the risk-coverage curve: mean error rate if only the most confident predictions are
            accepted, over all numbers of these.
    """

    sets: PredictionSets
    units: int
    covered: int
    interval: tuple[float, float] | None
    by_class: dict[str, Covered]
    sizes: tuple[int, ...]
    right_if_single: int
    risk_area: float

    @property
    def warning(self) -> str:
        """A sentence if the coverage is clearly below the promise, else ""."""
        if not _below_promise(self.interval, self.sets):
            return ""
        return _missed_promise(f"{self.covered / self.units:.3f} of the test {self.sets.unit}s", self.sets)

    def metrics(self) -> dict[str, float]:
        """Return coverage, the share of abstentions, the accuracy of the rest, and the risk-coverage area."""
        single = self.sizes[1]
        accuracy = {"accuracy_if_certain": self.right_if_single / single} if single else {}
        return {
            "set_coverage": self.covered / self.units,
            "abstention": 1 - single / self.units,
            **accuracy,
            "risk_coverage_area": self.risk_area,
        }


@dataclass(frozen=True)
class LabelSetScores:
    """Scores of the prediction sets of labels, by label that was calibrated.

    Attributes:
        sets: Prediction sets.
        units: Images, or patients.
        present: Those with the label whose presence was not ruled out, all with it, and the interval.
        absent: Those without it whose absence was not ruled out, all without it, and the interval.
        right: Right decisions, of those where only presence or only absence was possible, and the number of these.
    """

    sets: LabelSets
    units: int
    present: dict[str, Covered]
    absent: dict[str, Covered]
    right: dict[str, tuple[int, int]]

    @property
    def warning(self) -> str:
        """A sentence if the coverage of a label is clearly below the promise, else ""."""
        sides = [(f"{self.sets.unit}s with {name}", one) for name, one in self.present.items()]
        sides += [(f"{self.sets.unit}s without {name}", one) for name, one in self.absent.items()]
        missed = [
            f"{covered / total:.3f} of the test {units}"
            for units, (covered, total, interval) in sides
            if _below_promise(interval, self.sets)
        ]
        return _missed_promise(", ".join(missed), self.sets) if missed else ""

    def metrics(self) -> dict[str, float]:
        """Return coverage, the share of abstentions, and the accuracy of the rest, over all pairs of unit and label."""
        truths = [*self.present.values(), *self.absent.values()]
        covered, pairs = sum(one[0] for one in truths), sum(one[1] for one in truths)
        right, decided = (sum(counts) for counts in zip(*self.right.values(), strict=True))
        accuracy = {"accuracy_if_certain": right / decided} if decided else {}
        return {"set_coverage": covered / pairs, "abstention": 1 - decided / pairs, **accuracy}


def _below_promise(interval: tuple[float, float] | None, sets: PredictionSets) -> bool:
    return interval is not None and interval[1] < sets.coverage


def _missed_promise(reached: str, sets: PredictionSets) -> str:
    return (
        f"prediction sets by {sets.unit} cover {reached} instead of {sets.coverage:g}: these are unlike those that the "
        "sets were calibrated on, and the promise is only for groups that are alike"
    )
