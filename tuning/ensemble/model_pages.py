"""MLflow's pages about a registered ensemble: the model's card, and the columns of the list of trials."""

from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Registration
from analysis.ensembles.tasks.choose import task_results
from analysis.registry import write_card
from analysis.registry.model_card import ModelCard
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import METRICS
from tuning.tracking.outbox import Tracker


def write_pages(
    search: str, result: EnsembleResult, registration: Registration, data: Dataset, tracker: Tracker, model_name: str
) -> None:
    """Write the card of a registered ensemble to its pages, and a summary to the parent run's; safe to repeat."""
    card = ModelCard(
        name=model_name,
        search=search,
        experiment_id=tracker.experiment_id,
        run_ids={record.number: tracker.child_id(record.number) for record in result.chosen.members},
        chosen=result.chosen,
        registration=registration,
        openings=result.openings,
        evaluation=result.evaluation,
        data=data,
    )
    write_card(tracker.uri, card)
    tracker.describe_parent(card.summary(), sort_columns(result.chosen, task_results(data).sort_params))


def sort_columns(chosen: ChosenEnsemble, params: tuple[str, ...]) -> list[str]:
    """Return the columns of MLflow's list of trials: the objective first, then other metrics, then ``params``."""
    metric, reported = chosen.comparison.metric, chosen.members[0].epochs[-1].metrics
    at_best_epoch = [f"best_{other.name}" for other in METRICS if other.at_best_epoch]
    best = dict.fromkeys([f"best_{metric}", *(name for name in at_best_epoch if name in reported)])
    metrics = [*best, "best_epoch", "epoch_seconds", f"{chosen.metric_prefix}_{metric}", f"test_{metric}"]
    return [f"metrics.`{name}`" for name in metrics] + [f"params.`{name}`" for name in params]
