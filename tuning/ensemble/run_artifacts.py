"""Metrics and files that the parent run holds of an ensemble."""

import json
from dataclasses import asdict

from analysis.ensembles.result import EnsembleResult
from analysis.ensembles.serialization import to_json
from analysis.ensembles.tasks.choose import task_results
from trainables.core.data.dataset import Dataset


def run_metrics(result: EnsembleResult) -> dict[str, float]:
    """Return the parent run's metrics: the best trial's, then the ensemble's on ``select`` and on ``test``."""
    chosen, comparison = result.chosen, result.chosen.comparison
    best = chosen.members[0].epochs[-1].metrics
    metrics = {name: value for name, value in best.items() if name.startswith("best_") or name == "epoch_seconds"}
    metrics |= {f"{chosen.metric_prefix}_{name}": value for name, value in comparison.figures.items()}
    corrected = {f"{chosen.metric_prefix}_{comparison.metric}_corrected": comparison.corrected}
    if chosen.selection_bias is not None:  # choosing members biases the score more than choosing the rule
        corrected = {
            f"{chosen.metric_prefix}_{comparison.metric}_corrected": chosen.selection_bias.together_corrected,
            f"best_{comparison.metric}_corrected": chosen.selection_bias.corrected,
        }
    metrics |= {name: value for name, value in corrected.items() if value is not None}
    metrics |= {f"test_{name}": value for name, value in result.evaluation.metrics().items()}
    return metrics


def run_files(result: EnsembleResult, data: Dataset) -> dict[str, str]:
    """Return the parent run's text files by name; each one with test scores describes the test split."""
    chosen, evaluation = result.chosen, result.evaluation
    test = {"split": data.test_description, "leak": data.leak, "openings": asdict(result.openings)}
    members = [
        {"trial": record.number, "weight": weight, "test": to_json(scores)}
        for record, weight, scores in zip(
            chosen.members, chosen.comparison.combination.weights, evaluation.members, strict=True
        )
    ]
    ensemble = {**to_json(chosen), "rule": chosen.comparison.chosen, "members": members, "test": test}
    header = f"test: {data.test_description}; {result.openings.describe()}{f'; {data.leak}' if data.leak else ''}\n\n"
    return {
        "ensemble.json": json.dumps(ensemble, indent=1),
        "evaluation.json": json.dumps({**to_json(evaluation), **test}, indent=1),
        **task_results(data).files(result, header),
    }
