import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from analysis.ensembles.compare_rules import compare
from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.report.inputs import Inspection
from analysis.report.sections.model_comparison import metrics_table, models
from analysis.report.sections.wording import number
from tests.analysis.report.report_inputs import made_up_ensemble, made_up_inspection, with_result


def test_metrics_of_the_ensemble_match_scikit_learn(search, ensemble):
    table = metrics_table(ensemble)
    labels = search.data.labels[search.data.splits["test"]]
    predictions = (
        ensemble.chosen.comparison.combination.apply(ensemble.test_predictions),
        ensemble.test_predictions[ensemble.best_member],
    )
    rows = {name: [float(cell.split(" [")[0]) for cell in cells] for name, *cells in table.rows}
    for column, probabilities in enumerate(predictions):
        predicted = probabilities.argmax(axis=1)
        expected = {
            "balanced accuracy": balanced_accuracy_score(labels, predicted),
            "accuracy": accuracy_score(labels, predicted),
            "macro F1": f1_score(labels, predicted, average="macro"),
            "log loss": -np.log(probabilities[np.arange(len(labels)), labels]).mean(),
        }
        for name, value in expected.items():
            assert rows[name][column] == pytest.approx(value, abs=6e-4), name


def test_the_significance_of_the_difference_is_stated_or_its_absence_explained(ensemble):
    def text(weights, p_value):
        combination = dataclasses.replace(ensemble.chosen.comparison.combination, weights=weights)
        return metrics_table(
            with_result(
                ensemble,
                comparison=dataclasses.replace(ensemble.chosen.comparison, combination=combination),
                evaluation=dataclasses.replace(ensemble.evaluation, p_value=p_value),
            )
        ).how_to_read

    assert ensemble.best_member == 0
    assert "consists of its best member only" in text((1.0, 0.0), None)
    assert "p = 0.0123 (" in text((0.5, 0.5), 0.01234)
    assert "could not be tested" in text((0.5, 0.5), None)


def test_a_difference_of_zero_has_no_sign():
    assert [number(value) for value in (-0.0, -0.00001, -0.0001)] == ["0.0000", "0.0000", "-0.0001"]


@pytest.mark.parametrize(
    ("folds", "views", "passes", "said"),
    [
        (0, "none", 1, "running. The ensemble's"),
        (3, "none", 1, "A member has 3 models, one per fold: its"),
        (3, "flips", 3, "A member has 3 models, one per fold and 3 views of an image: its"),
    ],
)
def test_the_ensembles_cost_is_the_sum_of_its_voters(search, ensemble, folds, views, passes, said):
    networks = max(folds, 1)
    chosen = dataclasses.replace(ensemble.chosen, folds=folds, views=views)
    ensemble = with_result(ensemble, chosen=chosen)
    table = models(search, ensemble, made_up_inspection(search, ensemble)).blocks[0]
    rows = [dict(zip(table.headings, row, strict=True)) for row in table.rows]
    voters = len(ensemble.chosen.comparison.combination.voters())
    for row, count in ((rows[0], voters), (rows[1], 1)):
        assert float(row["million parameters"]) == pytest.approx(0.4 * count * networks)
        assert float(row["latency, ms"]) == pytest.approx(1.5 * count * networks * passes)
    assert said in table.how_to_read
    assert [row["model"] for row in rows[1:]] == [f"trial {r.number}, scratch_cnn" for r in ensemble.chosen.members]
    assert sum(float(row["weight"]) for row in rows[1:]) == pytest.approx(1, abs=2e-3)
    failed = models(search, ensemble, Inspection(missing="a node was lost")).blocks[0]
    assert "Latency was not measured: a node was lost." in failed.how_to_read


def test_the_chosen_rule_is_in_bold(search, ensemble):
    rules = models(search, ensemble, Inspection(missing="")).blocks[1]
    assert [rules.rows[position][0] for position in rules.bold] == [ensemble.chosen.comparison.chosen]
    assert len(rules.rows) == len(ensemble.chosen.comparison.rules)


@pytest.mark.parametrize("metric", ["log_loss", "balanced_accuracy"])
def test_the_difference_of_a_rule_is_its_score_minus_that_of_the_reference(search, ensemble, metric):
    sample = ClassificationResults(search.data).sample("test", metric)
    comparison = compare(ensemble.test_predictions, sample)
    table = models(search, with_result(ensemble, comparison=comparison), Inspection(missing="")).blocks[1]
    scores = {compared.rule: compared.score for compared in comparison.rules}
    assert table.headings[2] == f"difference from {comparison.reference}"
    for rule, _, difference, _ in table.rows:
        assert float(difference) == pytest.approx(scores[rule] - scores[comparison.reference], abs=6e-5)
    assert ("Lower is better." in table.how_to_read) == (metric == "log_loss")


def test_intervals_of_groups_with_many_images_are_warned_about(ensemble):
    evaluation = dataclasses.replace(ensemble.evaluation, groups=1)
    assert f"Groups have {evaluation.units} images on average" in (
        metrics_table(with_result(ensemble, evaluation=evaluation)).how_to_read
    )
    assert "images on average" not in metrics_table(ensemble).how_to_read


def test_rules_are_not_compared_for_a_single_member(search):
    alone = made_up_ensemble(search, count=1)
    titles = [block.title for block in models(search, alone, made_up_inspection(search, alone)).blocks]
    assert "Ensemble rules" not in titles and titles[0] == "Model comparison"
