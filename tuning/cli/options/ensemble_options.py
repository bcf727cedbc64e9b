"""Options of the panel "Ensemble", which say what members predict and how predictions become decisions."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from analysis.ensembles.decisions import DecisionRules

ENSEMBLE = "Ensemble"


class Views(StrEnum):
    """Test-time augmentations: the keys of ``predict_classes.VIEWS``, without importing it."""

    NONE = "none"
    FLIPS = "flips"
    TURNS = "turns"
    ALL = "all"


OperatingPointOption = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="Rule that chooses the probability from which an image is positive: youden, f1, sensitivity=0.95, "
        "specificity=0.9 or cost=10 (a missed positive costs 10 false alarms). Default: youden; f1 for several labels.",
        rich_help_panel=ENSEMBLE,
    ),
]
CoverageOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of images whose prediction set has the true class, between 0.5 and 0.99. Default: 0.9 if there are "
        "enough groups to choose the ensemble on, else no sets.",
        rich_help_panel=ENSEMBLE,
    ),
]


def decision_rules(operating_point: str | None, coverage: float | None) -> "DecisionRules":
    """Return the rules that the options name; a part that they leave out is None."""
    from analysis.ensembles.decisions import DecisionRules
    from analysis.statistics.thresholds import PointRule

    return DecisionRules(None if operating_point is None else PointRule.parse(operating_point), coverage)
