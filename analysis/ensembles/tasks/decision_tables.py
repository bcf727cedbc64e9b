"""Tables of the test scores at operating points and of prediction sets."""

from analysis.ensembles.evaluation import Evaluation, PointScores
from analysis.ensembles.set_scores import Covered, LabelSetScores, SetScores
from analysis.ensembles.tasks.base import ResultTable

POINT_METRICS = ("sensitivity", "specificity", "ppv", "npv")


def point_tables(evaluation: Evaluation) -> list[ResultTable]:
    """Return the ensemble's scores at its operating points, by image and by patient."""
    return [_point_table(point) for level in evaluation.levels().values() for point in level.ensemble.points]


def set_tables(evaluation: Evaluation) -> list[ResultTable]:
    """Return the scores of the ensemble's prediction sets, by image and by patient."""
    return [_set_table(one.ensemble.sets) for one in evaluation.levels().values() if one.ensemble.sets is not None]


def label_set_tables(evaluation: Evaluation) -> list[ResultTable]:
    """Return the scores of the prediction sets of labels, by image and by patient."""
    scores = [level.ensemble.label_sets for level in evaluation.levels().values()]
    return [_label_set_table(one) for one in scores if one is not None]


def _label_set_table(scores: LabelSetScores) -> ResultTable:
    sets, units = scores.sets, scores.units

    def row(name: str) -> tuple[str, ...]:
        right, decided = scores.right[name]
        undecided = f"{_share(units - decided, units)}: {units - decided} of {units}"
        if_decided = f"{_share(right, decided)}: {right} of {decided}" if decided else ""
        return name, _coverage(scores.present[name]), _coverage(scores.absent[name]), undecided, if_decided

    headings = ("label", "coverage if present [95%]", "coverage if absent [95%]", "undecided", "right if decided")
    return ResultTable(f"Prediction sets by {sets.unit}: {sets.describe()}", headings, list(map(row, scores.present)))


def _coverage(covered: Covered) -> str:
    right, total, interval = covered
    return f"{_share(right, total, interval)}: {right} of {total}" if total else ""


def _point_table(scores: PointScores) -> ResultTable:
    unit, shares = scores.point.unit, scores.shares()
    return ResultTable(
        f"Operating point by {unit}: {scores.point.describe()}",
        ("metric", "value [95%]", f"{unit}s"),
        [(name, scores.describe(name), f"{right} of {total}") for name, (right, total) in shares.items()],
    )


def _set_table(scores: SetScores) -> ResultTable:
    sets, single = scores.sets, scores.sizes[1]
    covered = [("coverage", (scores.covered, scores.units, scores.interval))]
    covered += [(f"coverage of {name}", of_class) for name, of_class in scores.by_class.items()]
    counts = {
        "sets with one class": (single, scores.units),
        "sets with several classes": (sum(scores.sizes[2:]), scores.units),
        "empty sets": (scores.sizes[0], scores.units),
        "right if one class": (scores.right_if_single, single),
    }
    return ResultTable(
        f"Prediction sets by {sets.unit}: {sets.describe()}",
        ("metric", "value [95%]", f"{sets.unit}s"),
        [
            *(
                (name, _share(right, total, interval), f"{right} of {total}")
                for name, (right, total, interval) in covered
            ),
            *((name, _share(part, total), f"{part} of {total}") for name, (part, total) in counts.items()),
        ],
    )


def _share(right: int, total: int, interval: tuple[float, float] | None = None) -> str:
    bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{right / total:.3f}{bounds}" if total else ""
