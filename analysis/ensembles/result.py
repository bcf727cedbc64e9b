"""The ensemble of a search: how it was chosen, how it scores on ``test``, and where it is registered."""

from dataclasses import dataclass
from typing import Annotated

from cattrs import override

from analysis.ensembles.compare_rules import Comparison
from analysis.ensembles.decisions import DEFAULT_DECISIONS, DecisionRules
from analysis.ensembles.evaluation import Evaluation
from analysis.statistics.diversity import Diversity
from analysis.statistics.resampling import best_position
from analysis.statistics.selection_bias import SelectionBias
from analysis.trials import TrialRecord, checkpoints_of


@dataclass(frozen=True)
class Openings:
    """The number of times a test set was opened.

    Attributes:
        here: Openings by this search.
        elsewhere: Openings by other searches with runs in the same MLflow; None if MLflow did not answer.
    """

    here: int
    elsewhere: int | None

    def describe(self) -> str:
        """Return, for example, ``opened once`` or ``opened 3 times, 2 of them by other searches``."""
        total = self.here + (self.elsewhere or 0)
        times = {0: "never opened", 1: "opened once"}.get(total, f"opened {total} times")
        if self.elsewhere is None:
            return f"{times} by this search (MLflow did not answer for other searches)"
        return f"{times}, {self.elsewhere} of them by other searches" if self.elsewhere else times


@dataclass(frozen=True)
class Registration:
    """An ensemble's entry in the model registry.

    Attributes:
        version: Registered version.
        alias: ``champion`` or ``challenger``.
        reason: Reason for the alias, in one line.
        sha256: Digest of the model's files, which ``tune-predict`` prints; "" if an earlier version registered it.
    """

    version: str
    alias: str
    reason: str
    sha256: str = ""

    def describe(self, model_name: str) -> str:
        """Return one line with the model's URI, its version, and the reason for its alias."""
        return f"Registered: models:/{model_name}@{self.alias} (version {self.version}): {self.reason}"


@dataclass(frozen=True)
class ChosenEnsemble:
    """An ensemble chosen on ``select``, or on the out-of-fold predictions of cross-validated trials.

    Attributes:
        members: Trials, best on ``tune`` first.
        member_scores: (M,) score of each member on the images the ensemble was chosen on, with its patient rule.
        comparison: Scores of all rules, and the chosen one.
        diversity: Disagreement of the members.
        views: Views of each image that members average over.
        images: Number of images the ensemble was chosen on.
        groups: Number of groups these images form.
        folds: Folds of each member; 0 without cross-validation.
        selection_bias: Correction for choosing members on the same images; None without folds.
        decisions: Wishes for operating points and prediction sets.
    """

    members: tuple[TrialRecord, ...]
    member_scores: Annotated[tuple[float, ...], override(rename="alone")]  # renamed in JSON only
    comparison: Comparison
    diversity: Diversity
    views: str
    images: int
    groups: int
    folds: int = 0
    selection_bias: Annotated[SelectionBias | None, override(rename="tuned")] = None
    decisions: DecisionRules = DEFAULT_DECISIONS

    @property
    def chosen_on(self) -> str:
        """A phrase for the predictions it was chosen on."""
        return f"out-of-fold predictions of {self.folds} folds" if self.folds else "select"

    @property
    def metric_prefix(self) -> str:
        """The prefix of metric names for scores on these predictions."""
        return "oof" if self.folds else "select"

    @property
    def best_member(self) -> int:
        """The position of the member with the best score."""
        return best_position(self.member_scores, self.comparison.metric)

    @property
    def checkpoints(self) -> list[str]:
        """Paths or URIs of the members' best checkpoints."""
        return checkpoints_of(self.members)

    @property
    def voters(self) -> list[TrialRecord]:
        """Members with a weight above 0."""
        return [self.members[position] for position in self.comparison.combination.voters()]


@dataclass(frozen=True)
class EnsembleResult:
    """The ensemble of a search and its scores on the test set.

    Attributes:
        chosen: The ensemble.
        evaluation: Scores of the ensemble and its members on ``test``.
        openings: Times the test set was opened.
        registration: Registry entry; None before the ensemble is registered.
    """

    chosen: ChosenEnsemble
    evaluation: Evaluation
    openings: Openings
    registration: Registration | None = None
