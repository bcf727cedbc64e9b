"""From a finished search to its ensemble: select, and open the test set once.

What was selected and scored goes into the study before anything else happens, so the test set is not opened again when
MLflow, or the driver, fails afterwards.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from numpy.typing import NDArray
from rich.console import Console

from analysis.ensembles.choose_rule import Comparison, compare
from analysis.ensembles.evaluation import Evaluation, evaluate
from analysis.ensembles.segmentation import MaskSample, compare_masks, evaluate_masks
from analysis.registry import Registered
from analysis.statistics.diversity import Diversity, diversity
from analysis.statistics.resampling import Sample, best_position
from analysis.statistics.selection_bias import Tuned, best_of_trials
from analysis.trials import TrialRecord, best_first, ranked, read_trials
from trainables.core.data.dataset import Dataset
from trainables.core.errors import CheckpointError, UserError, first_line
from trainables.worker.checkpoint_io import read_models, read_out_of_fold
from tuning.study.opening_ledger import Openings, count_opening, openings, split_fingerprint
from tuning.tracking.outbox import Tracker

_ENSEMBLE = "ensemble"

# From checkpoints and a split's name to (M, n, C) probabilities of its images; of masks, to what ``infer_masks`` gives.
Infer = Callable[[Sequence[str], str], NDArray[Any]]


@dataclass(frozen=True)
class Request:
    """What an ensemble is asked to be.

    Attributes:
        metric: Members and rules are chosen by it.
        k: The best k trials on ``tune`` become members.
        members: Numbers of trials to take instead.
        rule: One to take whatever the comparison says, or None.
        views: What members see of an image; ``infer`` must do likewise.
        folds: That a member must have finished; 0 where trials are not cross-validated.
    """

    metric: str
    k: int = 5
    members: tuple[int, ...] = ()
    rule: str | None = None
    views: str = "none"
    folds: int = 0

    def allows(self, record: TrialRecord) -> bool:
        """Whether a trial can be a member as far as its folds go: a part of them is of a part of the images."""
        return bool(record.epochs) and record.epochs[-1].epoch >= self.folds


@dataclass(frozen=True)
class Built:
    """An ensemble, chosen on ``select``, or on the out-of-fold predictions of cross-validated trials.

    Attributes:
        members: The trials, best on ``tune`` first.
        alone: (M,) each member's own score on ``select``.
        comparison: Of the rules, and the one that was chosen.
        diversity: Of the members.
        views: What they see of an image.
        images: On which it was chosen.
        groups: On which it was chosen.
        folds: Of its members; 0 where they are not cross-validated.
        tuned: What is to be known of the search's best trials where they were chosen on the same images.
    """

    members: Sequence[TrialRecord]
    alone: tuple[float, ...]
    comparison: Comparison
    diversity: Diversity
    views: str
    images: int
    groups: int
    folds: int = 0
    tuned: Tuned | None = None

    @property
    def where(self) -> str:
        """On what it was chosen, in words."""
        return f"out-of-fold predictions of {self.folds} folds" if self.folds else "select"

    @property
    def prefix(self) -> str:
        """Of the names of its figures there."""
        return "oof" if self.folds else "select"

    @property
    def best_member(self) -> int:
        """The position of the member that is best on ``select``."""
        return best_position(self.alone, self.comparison.metric)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, for JSON; of the trials, their numbers."""
        plain = {name: getattr(self, name) for name in ("alone", "views", "images", "groups", "folds")}
        numbers = [record.number for record in self.members]
        parts = {"comparison": self.comparison.to_dict(), "diversity": self.diversity.to_dict()}
        return {"members": numbers, **plain, **parts, "tuned": self.tuned and asdict(self.tuned)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any], members: Sequence[TrialRecord]) -> "Built":
        """What ``to_dict`` gave, also after a way through JSON, and the trials."""
        changed = {
            "members": members,
            "alone": tuple(raw["alone"]),
            "comparison": Comparison.from_dict(raw["comparison"]),
            "diversity": Diversity.from_dict(raw["diversity"]),
            "tuned": Tuned(**raw["tuned"]) if raw.get("tuned") else None,
        }
        return cls(**{**raw, **changed})


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        built: The ensemble.
        evaluation: Its scores on ``test``.
        openings: How often the test set was opened.
        registered: Where this very ensemble was registered before, what came of it.
    """

    built: Built
    evaluation: Evaluation
    openings: Openings
    registered: Registered | None = None


def note_registered(study: optuna.Study, registered: Registered) -> None:
    """Notes that the ensemble which the study holds was registered."""
    study.set_user_attr(_ENSEMBLE, {**study.user_attrs[_ENSEMBLE], "registered": asdict(registered)})


def find_ensemble(
    study: optuna.Study, data: Dataset, request: Request, infer: Infer, tracker: Tracker, console: Console
) -> Result | None:
    """Selects and scores the ensemble of the best k trials; None where no trial finished.

    The test set is opened for it unless the study holds the scores of these very members.
    """
    members = choose_members(study, request, console)
    if not members:
        return None
    fingerprint = split_fingerprint(data, "test")
    known: dict[str, Any] = study.user_attrs.get(_ENSEMBLE, {})
    asked = {"members": [record.number for record in members], "views": request.views}
    if {name: known.get("built", {}).get(name) for name in asked} == asked:
        built, evaluation = Built.from_dict(known["built"], members), Evaluation.from_dict(known["evaluation"])
        registered = Registered(**known["registered"]) if "registered" in known else None
        opened = openings(study, fingerprint, tracker.uri, tracker.parent_id)
        return Result(built, evaluation, opened, registered)
    built = build(members, data, request, infer, best_trials(study, data, request))
    count_opening(study, fingerprint)  # before it is opened: no opening goes uncounted
    opened = openings(study, fingerprint, tracker.uri, tracker.parent_id)
    evaluation = open_test(built, data, infer)
    study.set_user_attr(_ENSEMBLE, {"built": built.to_dict(), "evaluation": evaluation.to_dict()})
    return Result(built, evaluation, opened)


def noted_ensemble(study: optuna.Study, opened: Openings) -> Result | None:
    """What the study holds of the search's ensemble; None where the test set was not opened for one."""
    known: dict[str, Any] | None = study.user_attrs.get(_ENSEMBLE)
    if known is None:
        return None
    by_number = {record.number: record for record in read_trials(study)}
    built = Built.from_dict(known["built"], [by_number[number] for number in known["built"]["members"]])
    registered = Registered(**known["registered"]) if "registered" in known else None
    return Result(built, Evaluation.from_dict(known["evaluation"]), opened, registered)


def choose_members(study: optuna.Study, request: Request, console: Console) -> list[TrialRecord]:
    """The trials that become members, best first: those that were asked for, or the best k with a whole checkpoint.

    Raises:
        UserError: One that was asked for has no whole checkpoint.
    """
    records = read_trials(study)
    if not request.members:
        best = filter(request.allows, ranked(records, request.metric))
        return list(itertools.islice(_whole(best, console), request.k))
    kept = {record.number: record for record in records if request.allows(record)}
    missing = [number for number in request.members if number not in kept]
    if missing:
        there = ", ".join(map(str, kept)) or "none"
        raise UserError(f"members must be trials with a checkpoint, which are {there}, but got {missing[0]}")
    wanted = best_first([kept[number] for number in dict.fromkeys(request.members)], request.metric)
    whole = list(_whole(wanted, console))
    if len(whole) < len(wanted):
        raise UserError("members must have whole checkpoints: leave out those named above")
    return whole


def best_trials(study: optuna.Study, data: Dataset, request: Request) -> Tuned | None:
    """How lucky the best of all trials that ran in full are, having been chosen; None without folds."""
    if not data.folds:
        return None
    predictions = []
    for place in checkpoints_of(filter(request.allows, ranked(read_trials(study), request.metric))):
        with suppress(CheckpointError):  # torn
            predictions.append(read_out_of_fold(place).of(data.splits[data.selection]))
    if not predictions:
        return None
    k = len(request.members) or request.k
    return best_of_trials(predictions, sample_of(data, data.selection, request.metric), k)


def build(
    members: Sequence[TrialRecord], data: Dataset, request: Request, infer: Infer, tuned: Tuned | None = None
) -> Built:
    """Chooses how the members are combined, on ``select``, or on what they predict of the folds they did not see."""
    sample = sample_of(data, data.selection, request.metric)
    predictions = infer(checkpoints_of(members), data.selection)
    if isinstance(sample, MaskSample):
        comparison = compare_masks(predictions, sample, request.rule)
    else:
        comparison = compare(predictions, sample, request.rule)
    return Built(
        members=members,
        alone=tuple(sample.score(member) for member in predictions[: len(members)]),
        comparison=comparison,
        diversity=Diversity((), ()) if data.mask_format else diversity(predictions, sample.labels),
        views=request.views,
        images=len(sample.labels),
        groups=len(sample.members),
        folds=len(data.folds),
        tuned=tuned,
    )


def open_test(built: Built, data: Dataset, infer: Infer) -> Evaluation:
    """Scores an ensemble and its members on ``test``; ``count_opening`` comes before."""
    on_test = infer(checkpoints_of(built.members), "test")
    sample = sample_of(data, "test", built.comparison.metric)
    if isinstance(sample, MaskSample):
        return evaluate_masks(on_test, built.comparison.combination, sample, built.best_member)
    return evaluate(on_test, built.comparison.combination, sample, built.best_member)


def sample_of(data: Dataset, split: str, metric: str) -> Sample:
    """A split's labels and groups."""
    indices = data.splits[split]
    kind = MaskSample if data.mask_format else Sample
    return kind(data.labels[indices], data.groups[indices], data.class_names, metric, data.healthy)


def checkpoints_of(members: Iterable[TrialRecord]) -> list[str]:
    """Where the members' best checkpoints are."""
    return [record.best.checkpoint for record in members if record.best]


def _whole(records: Iterable[TrialRecord], console: Console) -> Iterator[TrialRecord]:
    """Those whose checkpoint can still be read."""
    for record in records:
        try:
            read_models(record.best.checkpoint if record.best else "")
        except (CheckpointError, OSError) as error:
            left_out = f"trial {record.number} is left out of the ensemble: {first_line(error)}"
            console.print(left_out, style="yellow", markup=False, highlight=False, soft_wrap=True)
        else:
            yield record
