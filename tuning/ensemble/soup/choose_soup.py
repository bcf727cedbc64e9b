"""Choosing a greedy soup on ``select``, and the best single network and the ensemble that it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from analysis.ensembles.choose_rule import Compared
from analysis.ensembles.compare_rules import Comparison
from analysis.ensembles.result import ChosenEnsemble
from analysis.ensembles.soups import GREEDY_SOUP, Chooser, Soup, best_network, greedy_soup, held_out_predictions
from analysis.ensembles.tasks.choose import task_results
from analysis.statistics.cross_fitting import GROUPS_TO_FIT
from analysis.trials import EpochRecord, TrialRecord, checkpoints_of
from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError
from tuning.ensemble.build import Infer, choose_ensemble
from tuning.ensemble.members import EnsembleRequest
from tuning.ensemble.soup.soups import Soups


@dataclass(frozen=True, eq=False)
class Contender:
    """A model that could be registered.

    Attributes:
        label: Its name in a table.
        chosen: The model as an ensemble.
        held_out: Its predictions on ``select``, each by a model that was chosen on other groups, as a sample scores
            them.
    """

    label: str
    chosen: ChosenEnsemble
    held_out: NDArray[Any]


@dataclass(frozen=True, eq=False)
class ChosenSoup:
    """A greedy soup and the models that it is compared with.

    Attributes:
        trials: Trials that could be averaged.
        soup: The choice of its ingredients among them.
        single: The best of these trials.
        average: The soup.
        ensemble: The ensemble of the search.
    """

    trials: tuple[TrialRecord, ...]
    soup: Soup
    single: Contender
    average: Contender
    ensemble: Contender

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """All models."""
        return self.single, self.average, self.ensemble


@dataclass(frozen=True, eq=False)
class SoupRequest:
    """Everything that a choice on ``select`` needs.

    Attributes:
        trials: Trials whose weights can be averaged.
        data: Data set of the search.
        request: Metric, views and rules for decisions.
        infer: Inference on the data set.
        folder: Folder for the soup's checkpoint.
    """

    trials: Sequence[TrialRecord]
    data: Dataset
    request: EnsembleRequest
    infer: Infer
    folder: str


def choose_soup(wanted: SoupRequest, ensemble: ChosenEnsemble) -> ChosenSoup:
    """Choose a greedy soup and the best single network, each also by cross-fitting over whole groups.

    Args:
        wanted: Trials, data and metric.
        ensemble: Ensemble of the search.

    Raises:
        UserError: ``select`` has too few groups.
    """
    soups = Soups(checkpoints_of(wanted.trials), wanted.data, wanted.infer)
    (_, single), (soup, average) = (_choose(chooser, soups, wanted) for chooser in (best_network, greedy_soup))
    comparison = _renamed(average.chosen.comparison, soup)
    predictions = wanted.infer(ensemble.checkpoints, wanted.data.selection)
    return ChosenSoup(
        trials=tuple(wanted.trials),
        soup=soup,
        single=single,
        average=replace(average, chosen=replace(average.chosen, comparison=comparison)),
        ensemble=_contender(f"ensemble of {len(ensemble.voters)}", ensemble, predictions, wanted),
    )


def _choose(chooser: Chooser, soups: Soups, wanted: SoupRequest) -> tuple[Soup, Contender]:
    """Choose ingredients; their average becomes an ensemble of one member.

    Whatever is fitted to its predictions (temperature, thresholds, prediction sets) is fitted to the cross-fitted ones,
    since its predictions of the images that it was chosen on are too good.
    """
    data, request, trials = wanted.data, wanted.request, wanted.trials
    sample = task_results(data).sample(data.selection, request.metric)
    held_out = held_out_predictions(chooser, soups.predict, len(trials), sample)
    if held_out is None:
        raise UserError(
            f"a soup is chosen on select, which must have {GROUPS_TO_FIT} groups of at least two classes, but has "
            f"{len(sample.members)}: leave --soup out"
        )
    soup = chooser(soups.predict, len(trials), sample)
    member = _as_trial(
        [trials[position] for position in soup.ingredients], soups.make(soup.ingredients, wanted.folder), wanted
    )
    predictions = held_out[None]
    chosen = choose_ensemble([member], data, request, lambda *_: predictions)
    label = f"best network ({member.name})" if chooser is best_network else member.name
    return soup, _contender(label, chosen, predictions, wanted)


def _as_trial(ingredients: Sequence[TrialRecord], place: str, wanted: SoupRequest) -> TrialRecord:
    """Return the average of trials, with its checkpoint and its score on ``tune``, as a trial."""
    first, metric = ingredients[0], wanted.request.metric
    if len(ingredients) == 1:
        return first
    (predicted,) = wanted.infer([place], "tune")
    score = task_results(wanted.data).sample("tune", metric).score(predicted)
    metrics = {"best_epoch": 1.0, f"best_{metric}": score}
    report = EpochRecord(epoch=1, metrics=metrics, time_ms=first.epochs[-1].time_ms, checkpoint=place)
    return replace(first, epochs=(report,), soup=tuple(sorted(record.number for record in ingredients)))


def _renamed(comparison: Comparison, soup: Soup) -> Comparison:
    """Return the comparison of a soup, whose only rule is the soup itself."""
    rule = Compared(GREEDY_SOUP, comparison.score, 0.0, 0.0)
    note = (
        f"{comparison.metric} on all of select, which chose the soup, is {soup.score:.4f}, which is optimistic: "
        f"rely on the cross-fitted {comparison.score:.4f}"
    )
    return replace(
        comparison, rules=(rule,), chosen=GREEDY_SOUP, reference=None, corrected=None, notes=(*comparison.notes, note)
    )


def _contender(label: str, chosen: ChosenEnsemble, predictions: NDArray[Any], wanted: SoupRequest) -> Contender:
    data, request = wanted.data, wanted.request
    task = task_results(data)
    sample = task.sample(data.selection, request.metric)
    return Contender(label, chosen, task.held_out(predictions, sample, chosen.comparison.chosen, request.decisions))
