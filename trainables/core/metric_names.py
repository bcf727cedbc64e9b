"""Names of metrics: which way is better, which of them tables show, and the objective of a search."""

import difflib
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace

LATENCY = "latency_ms"
SENSITIVITY = "sensitivity_at_95_specificity"
KAPPA = "quadratic_weighted_kappa"
ABSOLUTE_ERROR = "mean_absolute_error"
# Means over the classes or labels that occur. Means over different ones cannot be compared.
AVERAGES = frozenset(
    {"balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "average_precision", "auroc", "clinical"}
)
# Depend only on the order in which the probabilities of each class or label put the images.
RANKED = frozenset({"auroc", "average_precision", SENSITIVITY})
# Prefix of a metric of patients instead of images.
PATIENT = "patient_"
_ERRORS = ("log_loss", ABSOLUTE_ERROR)
# Lower is better for these; every other metric is better when higher.
MINIMIZED = frozenset({*_ERRORS, *(PATIENT + name for name in _ERRORS), LATENCY})


@dataclass(frozen=True)
class Metric:
    """A metric that tables show.

    Attributes:
        name: The bare name, as in ``--metric``.
        label: The name in a sentence.
        at_best_epoch: Trials report it as ``best_<name>``, so that the list of runs can be sorted by it.
        of_members: Tables of members show it; otherwise only the table of test figures does.
        on_model_card: The page of the registered model shows it.
    """

    name: str
    label: str
    at_best_epoch: bool = False
    of_members: bool = False
    on_model_card: bool = False


_OF_MASKS = (
    Metric("dice", "Dice", at_best_epoch=True, of_members=True, on_model_card=True),
    Metric("iou", "IoU", at_best_epoch=True, of_members=True, on_model_card=True),
    Metric("dataset_dice", "dataset Dice", of_members=True),
    Metric("dataset_iou", "dataset IoU", of_members=True),
)
_OF_CLASSES = (
    Metric(KAPPA, "quadratic weighted kappa", at_best_epoch=True, of_members=True, on_model_card=True),
    Metric(ABSOLUTE_ERROR, "mean absolute error in grades", at_best_epoch=True, of_members=True, on_model_card=True),
    Metric("balanced_accuracy", "balanced accuracy", at_best_epoch=True, of_members=True, on_model_card=True),
    Metric("macro_f1", "macro F1", at_best_epoch=True, of_members=True, on_model_card=True),
    Metric("accuracy", "accuracy", of_members=True, on_model_card=True),
    Metric("auroc", "AUROC", of_members=True, on_model_card=True),
    Metric("average_precision", "average precision"),
    Metric(SENSITIVITY, "sensitivity at 95% specificity"),
    Metric("sensitivity", "sensitivity at the operating point", on_model_card=True),
    Metric("specificity", "specificity at the operating point", on_model_card=True),
    Metric("ppv", "positive predictive value at the operating point", on_model_card=True),
    Metric("npv", "negative predictive value at the operating point", on_model_card=True),
    Metric("set_coverage", "coverage of the prediction sets", on_model_card=True),
    Metric("abstention", "share of abstentions", on_model_card=True),
    Metric("accuracy_if_certain", "accuracy without abstentions", on_model_card=True),
    Metric("risk_coverage_area", "area under the risk-coverage curve"),
    Metric("log_loss", "log loss"),
    Metric("brier", "Brier score"),
    Metric("ece", "expected calibration error"),
)
# In the order of tables. A table shows those that the model at hand has.
METRICS = (
    *_OF_MASKS,
    *_OF_CLASSES,
    *(replace(one, name=PATIENT + one.name, label=f"{one.label} by patient", of_members=False) for one in _OF_CLASSES),
)


@dataclass(frozen=True)
class Objective:
    """The metric that a search optimises, and a second one if it looks for the trade-off between two.

    Attributes:
        metric: Bare name. It prunes trials, chooses checkpoints and ranks members.
        second: Bare name of the other metric, which only the sampler sees; None without one.
    """

    metric: str
    second: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The bare names, one or two."""
        return (self.metric,) if self.second is None else (self.metric, self.second)

    @property
    def minimized(self) -> bool:
        """True if lower is better."""
        return self.metric in MINIMIZED


def unknown_metric(metric: str, known: Collection[str], part: str = "CLASS", by_patient: bool = True) -> str:
    """Return the message that refuses a metric that is not known.

    Args:
        metric: The refused name.
        known: Names of all metrics of the data at hand.
        part: What metrics such as ``recall/CLASS`` are of.
        by_patient: True if trials report the metrics by patient, too.
    """
    names = list(dict.fromkeys(re.sub("/.*", f"/{part}", name) for name in known))
    names += [f"{PATIENT}NAME"] * by_patient
    near = difflib.get_close_matches(metric, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    second = f"{LATENCY} (only as the second --metric)"
    return f"the metric must be one of {', '.join(names)}, or {second}, but got {metric!r}{hint}"


def is_better(metric: str, value: float, than: float | None) -> bool:
    """Return True if ``value`` of ``metric`` beats ``than``. Any number beats None and NaN; NaN beats nothing."""
    if math.isnan(value):
        return False
    if than is None or math.isnan(than):
        return True
    return value < than if metric in MINIMIZED else value > than
